// The route table of the platform in memory, kept true to the view: one change recompiles one Environment, never all. Every new state
// has the next sequence; the last deltas are kept so that each Edge can follow without a gap.

import { isDeepStrictEqual } from 'node:util';
import type { RouteGroup, RouteRule, RouteTable, TableCertificate, TableMessage } from '../../api/dataplane.ts';
import type { Deployment, InstanceSpec } from '../../model/documents.ts';
import { canonicalHost } from '../../model/host.ts';
import { appRecords } from '../apps/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { compileEnvironment, mergeRules, ruleKey } from './compile.ts';
import type { CompiledEnvironment, RuleConflict } from './compile.ts';

const KEPT_DELTAS = 512;
/** Changes of this long become one delta. */
const COALESCE_MS = 5;
/** Absent Instances that are remembered with the sequence of their removal. */
const KEPT_ABSENT = 20_000;

export type Delta = Extract<TableMessage, { type: 'delta' }>;

/** How an Instance stands in the table, and since which sequence. */
export interface TargetState {
  readonly state: 'active' | 'draining' | 'absent';
  readonly since: number;
}

export interface LiveTable {
  /** Sequence of the table now. Grows by one per delta; never reused by a later control, so it also tells one control from another. */
  sequence(): number;
  /** Lowest sequence of this control. */
  firstSequence(): number;
  snapshot(): RouteTable;
  /** The delta that follows `sequence`, null where there is none yet, undefined where it is no longer kept. */
  after(sequence: number): Delta | null | undefined;
  targetState(instanceId: string): TargetState;
  parts(): ReadonlyMap<string, CompiledEnvironment>;
  /** The rule in force for exactly this host, path and headers, by ruleKey. */
  ruleOf(key: string): RouteRule | undefined;
  conflicts(): readonly RuleConflict[];
  /** Takes in all changes at once, without waiting for more of them. */
  flush(): void;
  onDelta(listener: () => void): () => void;
  stop(): void;
}

/** The certificates for the canonical hosts of the rules in force. */
export type CertificatesFor = (hosts: readonly string[]) => readonly TableCertificate[];

/** Certificates that are nearly over are found this often. */
const CERTIFICATES_EVERY_MS = 3_600_000;

export function createLiveTable(context: ControlContext, certificatesFor: CertificatesFor = () => []): LiveTable {
  const { view, clock } = context;
  // Milliseconds of the start times a thousand: a later start is above every sequence of an earlier one.
  const first = clock.now() * 1000;
  let sequence = first;
  const parts = new Map<string, CompiledEnvironment>();
  const groups = new Map<string, RouteGroup>();
  const environmentOf = new Map<string, string>();
  const states = new Map<string, TargetState>();
  const dirty = new Set<string>();
  const deltas: Delta[] = [];
  const listeners = new Set<() => void>();
  let rules: readonly RouteRule[] = [];
  let ruleByKey: ReadonlyMap<string, RouteRule> = new Map();
  let conflicts: readonly RuleConflict[] = [];
  let cancelTimer: (() => void) | null = null;
  const certificates = new Map<string, TableCertificate>();
  let certificatesDue = false;
  let cancelRenewal: (() => void) | null = null;

  const compile = (environmentId: string): CompiledEnvironment | null => {
    const environment = view.get(environmentRecords, environmentId)?.document;
    const app = environment === undefined ? undefined : view.get(appRecords, environment.appId)?.document;
    if (environment === undefined || app === undefined) return null;
    const deployment = (id: string | null): Deployment | null => (id === null ? null : (view.get(deploymentRecords, id)?.document ?? null));
    const instances = view
      .by(instanceSpecRecords, 'environment', environmentId)
      .filter(({ document }) => document.role === 'service')
      .map(({ document: spec }) => {
        environmentOf.set(spec.id, environmentId);
        return { spec, status: view.get(instanceStatusRecords, spec.id)?.document ?? null, deployment: deployment(spec.deploymentId) };
      });
    return compileEnvironment({
      app,
      environment,
      domain: context.settings.domain,
      stable: deployment(environment.stableDeploymentId),
      candidate: deployment(environment.candidateDeploymentId),
      instances,
    });
  };

  const noteStates = (before: RouteGroup | undefined, after: RouteGroup | undefined, at: number): void => {
    const now = new Map((after?.targets ?? []).map((target) => [target.instanceId, target.state]));
    for (const [id, state] of now) if (states.get(id)?.state !== state) states.set(id, { state, since: at });
    for (const { instanceId } of before?.targets ?? []) {
      if (now.has(instanceId)) continue;
      states.delete(instanceId);
      states.set(instanceId, { state: 'absent', since: at });
    }
  };

  const forgetAbsent = (): void => {
    if (states.size <= KEPT_ABSENT + groups.size) return;
    for (const [id, { state }] of states) {
      if (states.size <= KEPT_ABSENT) return;
      if (state === 'absent') states.delete(id);
    }
  };

  const flush = (): void => {
    cancelTimer?.();
    cancelTimer = null;
    if (dirty.size === 0 && !certificatesDue) return;
    const at = sequence + 1;
    const putGroups: RouteGroup[] = [];
    const removeGroups: string[] = [];
    let rulesChanged = false;
    for (const environmentId of dirty) {
      const before = parts.get(environmentId);
      const after = compile(environmentId);
      if (after === null) parts.delete(environmentId);
      else parts.set(environmentId, after);
      if (!isDeepStrictEqual(before?.rules ?? [], after?.rules ?? [])) rulesChanged = true;
      const kept = new Set((after?.groups ?? []).map((group) => group.id));
      for (const group of after?.groups ?? []) {
        const known = groups.get(group.id);
        if (isDeepStrictEqual(known, group)) continue;
        noteStates(known, group, at);
        groups.set(group.id, group);
        putGroups.push(group);
      }
      for (const group of before?.groups ?? []) {
        if (kept.has(group.id)) continue;
        noteStates(groups.get(group.id), undefined, at);
        groups.delete(group.id);
        removeGroups.push(group.id);
      }
    }
    dirty.clear();
    const newRules = rulesChanged ? replaceRules() : null;
    const changed = newRules !== null || certificatesDue ? replaceCertificates() : NO_CERTIFICATES;
    certificatesDue = false;
    if (newRules === null && putGroups.length === 0 && removeGroups.length === 0 && changed === NO_CERTIFICATES) return;
    sequence = at;
    deltas.push({ type: 'delta', sequence, rules: newRules, putGroups, removeGroups, ...changed });
    if (deltas.length > KEPT_DELTAS) deltas.shift();
    forgetAbsent();
    for (const listener of listeners) listener();
  };

  const replaceCertificates = (): typeof NO_CERTIFICATES => {
    const wanted = certificatesFor([...new Set(rules.map(certificateName).filter((name) => name !== null))]);
    const put = wanted.filter((certificate) => !isSame(certificates.get(certificate.name), certificate));
    const names = new Set(wanted.map((certificate) => certificate.name));
    const gone = [...certificates.keys()].filter((name) => !names.has(name));
    for (const name of gone) certificates.delete(name);
    for (const certificate of put) certificates.set(certificate.name, certificate);
    return put.length === 0 && gone.length === 0 ? NO_CERTIFICATES : { putCertificates: put, removeCertificates: gone };
  };
  const renewLater = (): void => {
    cancelRenewal = clock.timer(CERTIFICATES_EVERY_MS, () => {
      certificatesDue = true;
      flush();
      renewLater();
    });
  };

  const replaceRules = (): readonly RouteRule[] | null => {
    const merged = mergeRules(parts.values());
    const known = new Set(conflicts.map(conflictKey));
    for (const conflict of merged.conflicts) if (!known.has(conflictKey(conflict))) reportConflict(context, conflict);
    conflicts = merged.conflicts;
    if (isDeepStrictEqual(merged.rules, rules)) return null;
    rules = merged.rules;
    ruleByKey = new Map(rules.map((rule) => [ruleKey(rule), rule]));
    return rules;
  };

  const touch = (environmentId: string | null | undefined): void => {
    if (environmentId === null || environmentId === undefined) return;
    dirty.add(environmentId);
    cancelTimer ??= clock.timer(COALESCE_MS, flush);
  };

  const touchInstance = (id: string): void => {
    const spec: InstanceSpec | undefined = view.get(instanceSpecRecords, id)?.document;
    if (spec === undefined) {
      touch(environmentOf.get(id));
      environmentOf.delete(id);
    } else if (spec.role === 'service') touch(spec.environmentId);
  };

  const unsubscribe = view.onChange((changed) => {
    for (const id of changed.get(environmentRecords.name) ?? []) touch(id);
    for (const id of changed.get(instanceSpecRecords.name) ?? []) touchInstance(id);
    for (const id of changed.get(instanceStatusRecords.name) ?? []) touchInstance(id);
    for (const id of changed.get(appRecords.name) ?? []) {
      for (const stored of view.by(environmentRecords, 'app', id)) touch(stored.document.id);
    }
  });
  for (const stored of view.list(environmentRecords)) touch(stored.document.id);
  flush();
  renewLater();

  return {
    sequence: () => sequence,
    firstSequence: () => first,
    snapshot: () => ({
      rules,
      groups: [...groups.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      certificates: [...certificates.values()],
    }),
    after: (known) => {
      if (known === sequence) return null;
      const oldest = deltas[0];
      if (oldest === undefined || known > sequence || known + 1 < oldest.sequence) return undefined;
      return deltas[known + 1 - oldest.sequence];
    },
    targetState: (instanceId) => states.get(instanceId) ?? { state: 'absent', since: first },
    parts: () => parts,
    ruleOf: (key) => ruleByKey.get(key),
    conflicts: () => conflicts,
    flush,
    onDelta: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    stop: () => {
      unsubscribe();
      cancelTimer?.();
      cancelRenewal?.();
    },
  };
}

const NO_CERTIFICATES: { readonly putCertificates?: readonly TableCertificate[]; readonly removeCertificates?: readonly string[] } = {};

/** What a certificate for the rule has to name; null where its host is none. */
function certificateName({ host }: RouteRule): string | null {
  if (!host.startsWith('*.')) return canonicalHost(host);
  const parent = canonicalHost(host.slice(2));
  return parent === null ? null : `*.${parent}`;
}

function isSame(a: TableCertificate | undefined, b: TableCertificate): boolean {
  return a !== undefined && a.chainPem === b.chainPem && a.keyPem === b.keyPem;
}

const conflictKey = (conflict: RuleConflict): string =>
  `${conflict.ownerId} ${conflict.loserId} ${conflict.rule.host} ${conflict.rule.path}`;

function reportConflict(context: ControlContext, conflict: RuleConflict): void {
  const nameOf = (id: string): string => {
    const environment = context.view.get(environmentRecords, id)?.document;
    const app = environment === undefined ? undefined : context.view.get(appRecords, environment.appId)?.document;
    return `${app?.name ?? '?'}/${environment?.name ?? '?'}`;
  };
  const loser = context.view.get(environmentRecords, conflict.loserId)?.document;
  context.event({
    level: 'warning',
    kind: 'route.conflict',
    message: `${nameOf(conflict.loserId)} asks for ${conflict.rule.host}${conflict.rule.path}, which ${nameOf(conflict.ownerId)} has had for longer; that one keeps it.`,
    subject: loser === undefined ? {} : { appId: loser.appId, environmentId: loser.id },
  });
}

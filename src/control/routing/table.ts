// The route table of the platform in memory, kept true to the view: one change recompiles one Environment, never all. Every new state
// has the next sequence; the last deltas are kept so that each Edge can follow without a gap.

import { isDeepStrictEqual } from 'node:util';
import type {
  ChallengeAnswers,
  RouteGroup,
  RouteParty,
  RouteRule,
  RouteTable,
  TableCertificate,
  TableMessage,
} from '../../api/dataplane.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import { ANY_HOST, coveringHosts, parseRouteHost, routeHostText } from '../../model/host.ts';
import { DEFAULT_TRAFFIC } from '../../model/traffic-policy.ts';
import { loadPatterns } from '../../model/patterns.ts';
import { routeKey } from '../../model/route-match.ts';
import { createRouteTable } from '../../model/route-table.ts';
import type { RouteTable as Matcher } from '../../model/route-table.ts';
import { appRecords } from '../apps/records.ts';
import { instanceStatusRecords, nodeStatusRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { sessionRecords } from '../dev/records.ts';
import { CountedHosts } from './counted-hosts.ts';
import { createClaims } from './claims.ts';
import type { RuleConflict } from './claims.ts';
import { compileEnvironment } from './compile.ts';
import type { CompiledEnvironment } from './compile.ts';
import { environmentInput, usesOf } from './environment-input.ts';
import type { DataPort } from './environment-input.ts';

/** Stands for the platform among the ids of Environments, which are UUIDs. */
const PLATFORM = 'libra';
const KEPT_DELTAS = 512;
/** Changes of this long become one delta, and of so many times as long as the last one took, within a bound: an Edge learns in time of
 *  a target that is gone. */
const COALESCE_MS = 5;
const REST = 4;
const MOST_REST_MS = 1000;
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
  /** The rule in force with this routeKey. */
  ruleOf(key: string): RouteRule | undefined;
  conflicts(): readonly RuleConflict[];
  /** The matcher of the Edges over the rules in force; made when it is first asked for, and kept true from then on. */
  matcher(): Promise<Matcher<RouteRule>>;
  /** The group of a rule. */
  groupOf(id: string): RouteGroup | undefined;
  /** Every host that a Route claims, canonical, wildcards included. */
  hosts(): readonly string[];
  /** Whether some Route wants a certificate for the host on demand, and no other Route has the host. */
  onDemandCovers(host: string): boolean;
  /** Hosts that no Route names and that have a certificate all the same, in place of those of before. */
  certifyAlso(hosts: ReadonlySet<string>): void;
  /** What Edges answer to an authority; comes into force with the next delta. */
  setChallenges(answers: Required<ChallengeAnswers>): void;
  /** The source has another certificate for some host. */
  certificatesChanged(): void;
  /** The platform's own API, at its reserved host. */
  servePlatform(host: string, target: { readonly nodeId: string; readonly host: string; readonly port: number }): void;
  /** Takes in all changes at once, without waiting for more of them. */
  flush(): void;
  onDelta(listener: () => void): () => void;
  stop(): void;
}

/** Where certificates come from. */
export interface CertificateSource {
  /** For a canonical host, a wildcard included; the same one until it is nearly over. */
  of(host: string): TableCertificate;
  /** No Route has the host any longer. */
  forget(host: string): void;
}

/** Certificates that are nearly over are found this often. */
const CERTIFICATES_EVERY_MS = 3_600_000;
/** Whoever learns a key reads what TLS 1.2 clients say in sessions that were resumed by it: it is short-lived and never stored. */
const TICKET_KEY_MS = 12 * 3_600_000;
const TICKET_KEY_BYTES = 48;

export function createLiveTable(context: ControlContext, source: CertificateSource | null = null): LiveTable {
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
  const claims = createClaims(isDeepStrictEqual);
  let matcher: Matcher<RouteRule> | null = null;
  let known = new Set<string>();
  /** By the keys of rules. */
  const certified = new CountedHosts();
  const onDemandHosts = new CountedHosts();
  let also: ReadonlySet<string> = new Set();
  const alsoTouched = new Set<string>();
  let cancelTimer: (() => void) | null = null;
  let tookMs = 0;
  const certificates = new Map<string, TableCertificate>();
  let certificatesDue = false;
  let cancelRenewal: (() => void) | null = null;
  let answers: Required<ChallengeAnswers> = { challenges: {}, challengeCertificates: [] };
  let challengesDue = false;
  const newTicketKey = (): string => Buffer.from(context.random.bytes(TICKET_KEY_BYTES)).toString('base64');
  let ticketKey = newTicketKey();
  let ticketKeySinceMs = clock.now();

  const dataPorts = new Map<string, DataPort>();
  /** Whether it is another one than before. */
  const noteDataPort = (nodeId: string): boolean => {
    const port = view.get(nodeStatusRecords, nodeId)?.document.dataPort ?? undefined;
    if (isDeepStrictEqual(dataPorts.get(nodeId), port)) return false;
    if (port === undefined) dataPorts.delete(nodeId);
    else dataPorts.set(nodeId, port);
    return true;
  };

  const compile = (environmentId: string): CompiledEnvironment | null => {
    const input = environmentInput({ view, domain: context.settings.domain, dataPorts }, environmentId);
    if (input === null) return null;
    for (const { spec } of input.instances) environmentOf.set(spec.id, environmentId);
    for (const { instanceId } of input.callers) environmentOf.set(instanceId, environmentId);
    for (const { session } of input.sessions ?? []) environmentOf.set(session.id, environmentId);
    return compileEnvironment(input);
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
    const renewed = clock.now() - ticketKeySinceMs >= TICKET_KEY_MS;
    if (dirty.size === 0 && alsoTouched.size === 0 && !certificatesDue && !challengesDue && !renewed) return;
    const beganMs = clock.monotonic();
    const at = sequence + 1;
    const putGroups: RouteGroup[] = [];
    const removeGroups: string[] = [];
    const putParties: RouteParty[] = [];
    const removeParties: string[] = [];
    const putRules = new Map<string, RouteRule>();
    const removeRules = new Set<string>();
    for (const environmentId of dirty) {
      const before = parts.get(environmentId);
      const after = environmentId === PLATFORM ? platform : compile(environmentId);
      if (after === null) parts.delete(environmentId);
      else parts.set(environmentId, after);
      if (!isDeepStrictEqual(before?.rules ?? [], after?.rules ?? [])) {
        const { put, remove } = claims.change(environmentId, after);
        for (const key of remove) {
          putRules.delete(key);
          removeRules.add(key);
        }
        for (const rule of put) {
          const key = routeKey(rule);
          removeRules.delete(key);
          putRules.set(key, rule);
        }
      }
      const party = after?.party ?? null;
      if (!isDeepStrictEqual(before?.party ?? null, party)) {
        if (party === null) removeParties.push(environmentId);
        else putParties.push(party);
      }
      const kept = new Set((after?.groups ?? []).map((group) => group.id));
      for (const group of after?.groups ?? []) {
        const was = groups.get(group.id);
        if (isDeepStrictEqual(was, group)) continue;
        noteStates(was, group, at);
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
    tookMs = clock.monotonic() - beganMs;
    const rulesChanged = putRules.size > 0 || removeRules.size > 0;
    if (rulesChanged) {
      tellConflicts();
      for (const key of removeRules) matcher?.remove(key);
      for (const rule of putRules.values()) matcher?.put(rule);
    }
    const changed = certificatesAfter(putRules, removeRules);
    certificatesDue = false;
    const asked = challengesDue;
    challengesDue = false;
    if (renewed) {
      ticketKey = newTicketKey();
      ticketKeySinceMs = clock.now();
    }
    const partiesChanged = putParties.length > 0 || removeParties.length > 0;
    const groupsChanged = putGroups.length > 0 || removeGroups.length > 0;
    if (!rulesChanged && !groupsChanged && !partiesChanged && !asked && !renewed && changed === NO_CERTIFICATES) return;
    sequence = at;
    const rules = rulesChanged ? { putRules: [...putRules.values()], removeRules: [...removeRules] } : {};
    deltas.push({
      type: 'delta',
      sequence,
      ...rules,
      putGroups,
      removeGroups,
      ...(partiesChanged ? { putParties, removeParties } : {}),
      ...changed,
      ...(asked ? answers : {}),
      ...(renewed ? { ticketKey } : {}),
    });
    if (deltas.length > KEPT_DELTAS) deltas.shift();
    forgetAbsent();
    for (const listener of listeners) listener();
  };

  const certificatesAfter = (putRules: ReadonlyMap<string, RouteRule>, removeRules: ReadonlySet<string>): typeof NO_CERTIFICATES => {
    if (source === null) return NO_CERTIFICATES;
    const touched = new Set(alsoTouched);
    alsoTouched.clear();
    for (const key of [...removeRules, ...putRules.keys()]) {
      onDemandHosts.remove(key);
      const host = certified.remove(key);
      if (host !== null) touched.add(host);
    }
    for (const [key, rule] of putRules) {
      const host = certificateName(rule);
      if (host !== null) {
        certified.put(key, host);
        touched.add(host);
      }
      if (rule.policy?.onDemandCertificates !== undefined) onDemandHosts.put(key, host ?? ANY_HOST);
    }
    const put: TableCertificate[] = [];
    const gone: string[] = [];
    for (const host of certificatesDue ? new Set([...touched, ...certified.hosts(), ...also]) : touched) {
      if (certified.has(host) || also.has(host)) {
        const certificate = source.of(host);
        if (isSame(certificates.get(host), certificate)) continue;
        certificates.set(host, certificate);
        put.push(certificate);
      } else {
        source.forget(host);
        if (certificates.delete(host)) gone.push(host);
      }
    }
    return put.length === 0 && gone.length === 0 ? NO_CERTIFICATES : { putCertificates: put, removeCertificates: gone };
  };
  const renewLater = (): void => {
    cancelRenewal = clock.timer(CERTIFICATES_EVERY_MS, () => {
      certificatesDue = true;
      flush();
      renewLater();
    });
  };

  /** Those that were not there before. */
  const tellConflicts = (): void => {
    const now = claims.conflicts();
    for (const conflict of now) if (!known.has(conflictKey(conflict))) reportConflict(context, conflict);
    known = new Set(now.map(conflictKey));
  };

  /** Beside the Environments, and older than all of them. */
  let platform: CompiledEnvironment | null = null;

  const touch = (environmentId: string | null | undefined): void => {
    if (environmentId === null || environmentId === undefined) return;
    dirty.add(environmentId);
    cancelTimer ??= clock.timer(Math.min(MOST_REST_MS, Math.max(COALESCE_MS, REST * tookMs)), flush);
  };

  const touchInstance = (id: string): void => {
    const spec: InstanceSpec | undefined = view.get(instanceSpecRecords, id)?.document;
    if (spec === undefined) {
      touch(environmentOf.get(id));
      environmentOf.delete(id);
    } else if ((spec.role === 'service' && mayGetRequests(spec)) || usesOf(view, spec).length > 0) touch(spec.environmentId);
  };
  const mayGetRequests = ({ environmentId, entrypoint, deploymentId }: InstanceSpec): boolean => {
    const deployment = deploymentId === null ? undefined : view.get(deploymentRecords, deploymentId)?.document;
    return groups.has(`${environmentId}/${entrypoint}`) || deployment?.entrypoints[entrypoint]?.listens !== false;
  };

  const unsubscribe = view.onChange((changed) => {
    for (const id of changed.get(environmentRecords.name) ?? []) touch(id);
    for (const id of changed.get(sessionRecords.name) ?? []) {
      const session = view.get(sessionRecords, id)?.document;
      touch(session?.environmentId ?? environmentOf.get(id));
      if (session === undefined) environmentOf.delete(id);
    }
    for (const id of changed.get(instanceSpecRecords.name) ?? []) touchInstance(id);
    for (const id of changed.get(instanceStatusRecords.name) ?? []) touchInstance(id);
    for (const id of changed.get(nodeStatusRecords.name) ?? []) {
      if (!noteDataPort(id)) continue;
      for (const stored of view.by(instanceSpecRecords, 'node', id)) touchInstance(stored.document.id);
      for (const { document } of view.list(sessionRecords)) if (document.attached?.nodeId === id) touch(document.environmentId);
    }
    for (const id of changed.get(appRecords.name) ?? []) {
      for (const stored of view.by(environmentRecords, 'app', id)) touch(stored.document.id);
    }
  });
  for (const stored of view.list(nodeStatusRecords)) noteDataPort(stored.document.id);
  for (const stored of view.list(environmentRecords)) touch(stored.document.id);
  flush();
  renewLater();

  return {
    sequence: () => sequence,
    firstSequence: () => first,
    snapshot: () => ({
      rules: claims.rules(),
      groups: [...groups.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      ...partiesOf(parts),
      certificates: [...certificates.values()],
      ticketKey,
      ...(Object.keys(answers.challenges).length === 0 ? {} : { challenges: answers.challenges }),
      ...(answers.challengeCertificates.length === 0 ? {} : { challengeCertificates: answers.challengeCertificates }),
    }),
    after: (last) => {
      if (last === sequence) return null;
      const oldest = deltas[0];
      if (oldest === undefined || last > sequence || last + 1 < oldest.sequence) return undefined;
      return deltas[last + 1 - oldest.sequence];
    },
    targetState: (instanceId) => states.get(instanceId) ?? { state: 'absent', since: first },
    parts: () => parts,
    ruleOf: (key) => claims.ruleOf(key),
    conflicts: () => claims.conflicts(),
    matcher: async () => {
      await loadPatterns();
      flush();
      matcher ??= createRouteTable(claims.rules());
      return matcher;
    },
    groupOf: (id) => groups.get(id),
    hosts: () => {
      flush();
      return certified.hosts();
    },
    onDemandCovers: (host) => {
      flush();
      if (certified.has(host)) return false;
      for (const covering of coveringHosts(host)) {
        if (onDemandHosts.has(covering)) return true;
        if (certified.has(covering)) return false;
      }
      return false;
    },
    certifyAlso: (hosts) => {
      for (const host of hosts) if (!also.has(host)) alsoTouched.add(host);
      for (const host of also) if (!hosts.has(host)) alsoTouched.add(host);
      also = hosts;
      flush();
    },
    setChallenges: (wanted) => {
      answers = wanted;
      challengesDue = true;
      flush();
    },
    certificatesChanged: () => {
      certificatesDue = true;
      flush();
    },
    servePlatform: (host, target) => {
      const group: RouteGroup = {
        id: `${PLATFORM}/api`,
        app: PLATFORM,
        environment: 'production',
        entrypoint: 'api',
        state: 'serving',
        targets: [{ instanceId: PLATFORM, deploymentId: '', state: 'active', drainUntilMs: null, ...target }],
        // There is one API, which is asked however it fares.
        policy: { ...DEFAULT_TRAFFIC, eject: null, slowStartMs: 0 },
      };
      platform = {
        environmentId: PLATFORM,
        createdAtMs: 0,
        rules: [{ host, path: '/', headers: {}, group: group.id }],
        groups: [group],
        party: null,
      };
      touch(PLATFORM);
    },
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

function partiesOf(parts: ReadonlyMap<string, CompiledEnvironment>): { readonly parties?: readonly RouteParty[] } {
  const parties = [...parts.values()].flatMap(({ party }) => (party === null ? [] : [party])).sort((a, b) => (a.id < b.id ? -1 : 1));
  return parties.length === 0 ? {} : { parties };
}

const NO_CERTIFICATES: { readonly putCertificates?: readonly TableCertificate[]; readonly removeCertificates?: readonly string[] } = {};

/** What a certificate for the rule has to name; null where its host is none, or every one. */
function certificateName({ host }: RouteRule): string | null {
  const parsed = host === ANY_HOST ? null : parseRouteHost(host);
  return parsed === null ? null : routeHostText(parsed);
}

function isSame(a: TableCertificate | undefined, b: TableCertificate): boolean {
  return a !== undefined && a.chainPem === b.chainPem && a.keyPem === b.keyPem;
}

const conflictKey = (conflict: RuleConflict): string => `${conflict.ownerId} ${conflict.loserId} ${routeKey(conflict.rule)}`;

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

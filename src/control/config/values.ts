// Env values and Secrets of Environments: every version is a sealed record of its own, so that a Deployment can name the one it runs
// with. Values go in and come out only towards Instances: no reply, log line, event or error holds one (invariant 8).

import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { ConfigValue, Deployment } from '../../model/documents.ts';
import { create, remove } from '../../store/records.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import type { ControlContext } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { deploymentRecords, environmentRecords } from '../deploys/records.ts';
import { findEnvironment } from '../lookup.ts';
import { configValueRecords } from './records.ts';
import type { Sealer } from './sealer.ts';
import { secretName, secretValue, textValue } from './value-input.ts';

const NAMES_PER_ENVIRONMENT = 500;
const KEPT_VERSIONS = 10;
const COMMIT_BYTES = 600 * 1024;
const COMMIT_OPERATIONS = 40;

type Kind = ConfigValue['kind'];

export interface ResolvedValue {
  readonly valueId: string;
  readonly version: number;
}

export interface ResolvedValues {
  readonly env: ReadonlyMap<string, ResolvedValue>;
  readonly secrets: ReadonlyMap<string, ResolvedValue>;
}

export interface Values {
  /** Throws `storage_failed` where the kept values were sealed with another master key: nothing may start then. */
  check(): void;
  readonly handlers: {
    readonly env: NounHandlers<typeof table.env>;
    readonly secrets: NounHandlers<typeof table.secrets>;
  };
  /** The newest version of every name that is set. */
  readonly resolveValues: (environmentId: string) => ResolvedValues;
  /** The plain value; `not_found` where the version is gone. */
  readonly openValue: (valueId: string) => Buffer;
  /** Whether a Deployment may still be made from this version: it is kept, and its Secret has not been unset since. */
  readonly isAvailable: (valueId: string) => boolean;
  /** Deletes the sealed values of an Environment that goes; several commits' worth of operations, each small. */
  readonly removeValuesOf: (environmentId: string) => readonly Operation[];
}

export function createValues(context: ControlContext, deps: { readonly sealer: Sealer }): Values {
  const { view } = context;
  const { sealer } = deps;

  const versionsOf = (environmentId: string, kind: Kind): Map<string, Stored<ConfigValue>[]> => {
    const byName = new Map<string, Stored<ConfigValue>[]>();
    for (const stored of view.by(configValueRecords, 'environment', environmentId)) {
      if (stored.document.kind !== kind) continue;
      const versions = byName.get(stored.document.name);
      if (versions === undefined) byName.set(stored.document.name, [stored]);
      else versions.push(stored);
    }
    for (const versions of byName.values()) versions.sort((a, b) => b.document.version - a.document.version);
    return byName;
  };

  const current = (environmentId: string, kind: Kind): Map<string, ResolvedValue> => {
    const resolved = new Map<string, ResolvedValue>();
    for (const [name, [newest]] of versionsOf(environmentId, kind)) {
      if (newest !== undefined && newest.document.sealed !== null) {
        resolved.set(name, { valueId: newest.document.id, version: newest.document.version });
      }
    }
    return resolved;
  };

  const openDocument = (value: ConfigValue): Buffer => {
    if (value.sealed === null) throw gone(value.name);
    return sealer.open(value.sealed, associatedOf(value));
  };

  const nextVersion = (
    existing: readonly Stored<ConfigValue>[],
    value: Pick<ConfigValue, 'environmentId' | 'kind' | 'name' | 'createdBy'>,
    plain: Buffer | null,
  ): ConfigValue | null => {
    const newest = existing[0]?.document;
    if (plain === null && (newest === undefined || newest.sealed === null)) return null;
    if (plain !== null && newest !== undefined && newest.sealed !== null && openDocument(newest).equals(plain)) return null;
    const draft = {
      ...value,
      id: newId(context.clock.now(), context.random),
      version: (newest?.version ?? 0) + 1,
      createdAtMs: context.clock.now(),
    };
    return { ...draft, sealed: plain === null ? null : sealer.seal(plain, associatedOf(draft)) };
  };

  /** Writes new versions and drops those that nobody can need any more. A concurrent write of the same name is a `conflict`. */
  const write = async (
    environmentId: string,
    kind: Kind,
    changes: ReadonlyMap<string, Buffer | null>,
    createdBy: string,
    drop: (versions: readonly Stored<ConfigValue>[], inUse: ReadonlySet<string>) => readonly Stored<ConfigValue>[],
  ): Promise<void> => {
    const versions = versionsOf(environmentId, kind);
    refuseTooMany(view.by(configValueRecords, 'environment', environmentId), kind, changes);
    const inUse = usedValues(view.by(deploymentRecords, 'environment', environmentId));
    let batch: Operation[] = [];
    let batchBytes = 0;
    const flush = async (): Promise<void> => {
      if (batch.length > 0) await commitOrConflict(context, batch);
      batch = [];
      batchBytes = 0;
    };
    for (const [name, plain] of changes) {
      const existing = versions.get(name) ?? [];
      const next = nextVersion(existing, { environmentId, kind, name, createdBy }, plain);
      if (next === null) continue;
      const bytes = next.sealed?.length ?? 0;
      if (batchBytes + bytes > COMMIT_BYTES) await flush();
      for (const operation of [
        create(configValueRecords, next),
        ...drop(existing, inUse).map((stored) => remove(configValueRecords, stored)),
      ]) {
        if (batch.length >= COMMIT_OPERATIONS) await flush();
        batch.push(operation);
      }
      batchBytes += bytes;
    }
    await flush();
  };

  const list = (environmentId: string, kind: Kind): ValueInfo[] => {
    const stableId = view.get(environmentRecords, environmentId)?.document.stableDeploymentId ?? null;
    const stable = stableId === null ? undefined : view.get(deploymentRecords, stableId);
    const inUse = usedValues(stable === undefined ? [] : [stable]);
    return [...versionsOf(environmentId, kind)]
      .flatMap(([name, versions]) => {
        const newest = versions[0]?.document;
        if (newest === undefined || newest.sealed === null) return [];
        return [
          {
            name,
            version: newest.version,
            deployed: deployedState(versions, inUse),
            updatedAtMs: newest.createdAtMs,
            updatedBy: newest.createdBy,
          },
        ];
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  };

  const handlers: Values['handlers'] = {
    env: {
      list: async (call) => {
        const { environment } = findEnvironment(view, call.params.app, call.params.environment);
        return { items: list(environment.document.id, 'env') };
      },
      set: async (call) => {
        const { environment } = findEnvironment(view, call.params.app, call.params.environment);
        const changes = new Map<string, Buffer | null>();
        for (const [name, text] of Object.entries(call.body.values)) changes.set(name, text === null ? null : textValue(name, text));
        await write(environment.document.id, 'env', changes, call.principal.name, surplus);
        return { items: list(environment.document.id, 'env') };
      },
    },
    secrets: {
      list: async (call) => {
        const { environment } = findEnvironment(view, call.params.app, call.params.environment);
        return { items: list(environment.document.id, 'secret') };
      },
      set: async (call) => {
        const { environment } = findEnvironment(view, call.params.app, call.params.environment);
        const name = secretName(call.params.secret);
        const plain = secretValue(name, call.body.value, call.body.encoding);
        await write(environment.document.id, 'secret', new Map([[name, plain]]), call.principal.name, surplus);
        const info = list(environment.document.id, 'secret').find((item) => item.name === name);
        if (info === undefined) throw new Failure('conflict', { message: `The Secret ${name} was unset at the same moment.` });
        return info;
      },
      delete: async (call) => {
        const { environment } = findEnvironment(view, call.params.app, call.params.environment);
        const name = secretName(call.params.secret);
        if (!current(environment.document.id, 'secret').has(name)) {
          throw new Failure('not_found', { message: `The Environment ${call.params.environment} has no Secret ${name}.` });
        }
        // What runs keeps its version until it is replaced; every other one goes now.
        const { stableDeploymentId, candidateDeploymentId, standby } = environment.document;
        const running = new Set([stableDeploymentId, candidateDeploymentId, standby?.deploymentId]);
        const inUse = usedValues(
          view.by(deploymentRecords, 'environment', environment.document.id).filter((stored) => running.has(stored.document.id)),
        );
        const unneeded = (versions: readonly Stored<ConfigValue>[]): readonly Stored<ConfigValue>[] =>
          versions.filter((stored) => !inUse.has(stored.document.id));
        await write(environment.document.id, 'secret', new Map([[name, null]]), call.principal.name, unneeded);
        return undefined;
      },
    },
  };

  return {
    check: () => {
      const any = view.list(configValueRecords).find((stored) => stored.document.sealed !== null);
      if (any !== undefined) openDocument(any.document);
    },
    handlers,
    resolveValues: (environmentId) => ({ env: current(environmentId, 'env'), secrets: current(environmentId, 'secret') }),
    openValue: (valueId) => {
      const stored = view.get(configValueRecords, valueId);
      if (stored === undefined) throw gone(valueId);
      return openDocument(stored.document);
    },
    isAvailable: (valueId) => {
      const value = view.get(configValueRecords, valueId)?.document;
      if (value === undefined || value.sealed === null) return false;
      return value.kind === 'env' || current(value.environmentId, 'secret').has(value.name);
    },
    removeValuesOf: (environmentId) =>
      view.by(configValueRecords, 'environment', environmentId).map((stored) => remove(configValueRecords, stored)),
  };
}

interface ValueInfo {
  readonly name: string;
  readonly version: number;
  readonly deployed: 'current' | 'older' | 'none';
  readonly updatedAtMs: number;
  readonly updatedBy: string;
}

function associatedOf(value: Pick<ConfigValue, 'id' | 'version'>): string {
  return `values/${value.id}@${value.version}`;
}

function gone(name: string): Failure {
  return new Failure('not_found', { message: `The value ${name} is no longer kept.`, hint: 'Set it again and deploy.' });
}

/** Ids of all values that these Deployments run with. */
function usedValues(deployments: readonly Stored<Deployment>[]): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const { document } of deployments) {
    for (const variables of Object.values(document.env)) {
      for (const source of Object.values(variables)) if (source.kind === 'value') ids.add(source.valueId);
    }
    for (const files of Object.values(document.files)) for (const file of files) ids.add(file.valueId);
  }
  return ids;
}

function deployedState(versions: readonly Stored<ConfigValue>[], inUse: ReadonlySet<string>): ValueInfo['deployed'] {
  const used = versions.findIndex((stored) => inUse.has(stored.document.id));
  if (used === -1) return 'none';
  return used === 0 ? 'current' : 'older';
}

/** Versions beyond those kept (the new one included) that no kept Deployment needs. A few at a time: the next write takes the rest. */
function surplus(versions: readonly Stored<ConfigValue>[], inUse: ReadonlySet<string>): readonly Stored<ConfigValue>[] {
  return versions
    .slice(KEPT_VERSIONS - 1)
    .filter((stored) => !inUse.has(stored.document.id))
    .slice(0, KEPT_VERSIONS);
}

function refuseTooMany(values: readonly Stored<ConfigValue>[], kind: Kind, changes: ReadonlyMap<string, Buffer | null>): void {
  const names = new Set(values.map(({ document }) => `${document.kind}/${document.name}`));
  for (const [name, plain] of changes) if (plain !== null) names.add(`${kind}/${name}`);
  if (names.size > NAMES_PER_ENVIRONMENT) {
    throw new Failure('rate_limited', {
      message: `An Environment may hold ${NAMES_PER_ENVIRONMENT} names of values and Secrets; this would make ${names.size}.`,
    });
  }
}

async function commitOrConflict(context: ControlContext, operations: readonly Operation[]): Promise<void> {
  try {
    await context.view.commit(...operations);
  } catch (error) {
    if (!isFailure(error, 'exists')) throw error;
    throw new Failure('conflict', {
      message: 'Somebody else set the same value at the same moment.',
      hint: 'Look at the list, then set it again.',
      cause: error,
    });
  }
}

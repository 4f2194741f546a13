// What an agent gets to run one Instance: spec, Deployment snapshot, Release and opened values, compiled into one document. It is made
// anew from records each time; plain values exist only in it and on the stream to the Node that runs the Instance (invariant 8).

import type { DesiredInstance } from '../../api/agent.ts';
import { isFailure } from '../../lib/failure.ts';
import { chooseDriver } from '../../model/compatibility.ts';
import type { Artifact, Deployment, DriverInfo, EnvSource, InstanceSpec, Reason, Release } from '../../model/documents.ts';
import type { EntrypointSpec, Resources } from '../../model/manifest-types.ts';
import type { View } from '../../store/view.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { grantedTo } from '../auth/grants.ts';
import { buildArtifact } from '../builds/needs-build.ts';
import { deploymentRecords, environmentRecords } from '../deploys/records.ts';
import { nodeStatusRecords } from './records.ts';

const BUILD_TIMEOUT_MS = 30 * 60_000;
const ONE_OFF_TIMEOUT_MS = 24 * 3_600_000;
const MEBIBYTE = 1024 * 1024;

/** What a build may take; it has no Entrypoint of its own that would say so. */
export const BUILD_RESOURCES: Resources = {
  cpu: { request: 0.5, limit: 2, bind: false },
  memory: { requestBytes: 512 * MEBIBYTE, limitBytes: 2048 * MEBIBYTE },
  diskBytes: 4096 * MEBIBYTE,
};

export type Compiled =
  | { readonly ok: true; readonly instance: DesiredInstance }
  /** It can never run as it is specified. */
  | { readonly ok: false; readonly reason: Reason };

export interface DesiredDeps {
  readonly view: View;
  /** Throws `not_found` where the version is gone. */
  readonly openValue: (valueId: string) => Buffer;
}

type Common = Pick<
  DesiredInstance,
  'id' | 'generation' | 'desired' | 'role' | 'app' | 'environment' | 'release' | 'deploymentId' | 'entrypoint' | 'slot'
>;

/** The document for one Instance as the records stand now. */
export function compileDesired(deps: DesiredDeps, spec: InstanceSpec): Compiled {
  const { view } = deps;
  const app = view.get(appRecords, spec.appId)?.document;
  const release = view.get(releaseRecords, spec.releaseId)?.document;
  if (app === undefined || release === undefined) {
    return refused(spec, 'driver_error', 'The App or Release of this Instance is no longer there.', null);
  }
  const environment = spec.environmentId === null ? undefined : view.get(environmentRecords, spec.environmentId)?.document;
  const common: Common = {
    id: spec.id,
    generation: spec.generation,
    desired: spec.desired,
    role: spec.role,
    app: { id: app.id, name: app.name },
    environment: environment === undefined ? null : { id: environment.id, name: environment.name },
    release: { number: release.number, label: release.label },
    deploymentId: spec.deploymentId,
    entrypoint: spec.entrypoint,
    slot: spec.slot,
  };
  const drivers = view.get(nodeStatusRecords, spec.nodeId)?.document.drivers ?? [];
  if (spec.role === 'build') return compileBuild(spec, common, release, drivers);
  const deployment = spec.deploymentId === null ? undefined : view.get(deploymentRecords, spec.deploymentId)?.document;
  const entrypoint = deployment?.entrypoints[spec.entrypoint];
  if (deployment === undefined || entrypoint === undefined) {
    return refused(spec, 'driver_error', 'The Deployment of this Instance is no longer there.', null);
  }
  return compileRun(deps, { spec, common, release, deployment, entrypoint, drivers });
}

function compileBuild(spec: InstanceSpec, common: Common, release: Release, drivers: readonly DriverInfo[]): Compiled {
  if (release.bundle === null) return refused(spec, 'build_failed', 'The Release has no folder to build.', null);
  const { build } = release.manifest;
  const kind = buildArtifact(build);
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(release.manifest.env)) if (typeof value === 'string') env[name] = value;
  return {
    ok: true,
    instance: {
      ...common,
      driver: drivers.find((driver) => driver.artifacts.includes(kind))?.name ?? (kind === 'image' ? 'docker' : 'process'),
      artifact: { kind: 'bundle', ...release.bundle },
      commands: spec.commands ?? [],
      env,
      secretEnv: [],
      files: [],
      port: null,
      listens: false,
      resources: BUILD_RESOURCES,
      health: { probe: { kind: 'running', settleMs: 0 }, intervalMs: 5000, timeoutMs: 2000, healthy: 1, unhealthy: 3, graceMs: 0 },
      restart: 'never',
      stop: { signal: 'SIGTERM', timeoutMs: 5000 },
      hooks: { afterStart: [], beforeStop: [], required: false },
      volumes: [],
      singleton: false,
      disconnect: { stopAfterMs: 0, replaceAfterMs: 0 },
      ...(build.kind === 'dockerfile' ? { dockerfile: build.dockerfile } : {}),
      packResult: true,
      timeoutMs: BUILD_TIMEOUT_MS,
    },
  };
}

/** Whether it is told what it was granted. */
export function asksForMachine(view: View, { deploymentId, entrypoint }: InstanceSpec): boolean {
  const deployment = deploymentId === null ? undefined : view.get(deploymentRecords, deploymentId)?.document;
  return deployment?.entrypoints[entrypoint]?.container?.host !== undefined;
}

interface RunInput {
  readonly spec: InstanceSpec;
  readonly common: Common;
  readonly release: Release;
  readonly deployment: Deployment;
  readonly entrypoint: EntrypointSpec;
  readonly drivers: readonly DriverInfo[];
}

function compileRun(deps: DesiredDeps, input: RunInput): Compiled {
  const { spec, common, release, deployment, entrypoint, drivers } = input;
  const artifact: Artifact | null = entrypoint.image === null ? release.artifact : { kind: 'image', reference: entrypoint.image };
  if (artifact === null)
    return refused(spec, 'build_failed', `Release ${release.number} has nothing to run: its build is not ready.`, null);
  const choice = chooseDriver(drivers, entrypoint, release.manifest.build);
  if (!choice.ok && drivers.length > 0) return refused(spec, 'driver_error', choice.message, choice.hint);
  const env: Record<string, string> = {};
  const secretEnv: string[] = [];
  const files: DesiredInstance['files'][number][] = [];
  try {
    for (const [name, source] of Object.entries(deployment.env[spec.entrypoint] ?? {})) {
      env[name] = valueOf(deps, source);
      if (source.kind === 'value') secretEnv.push(name);
    }
    for (const file of deployment.files[spec.entrypoint] ?? []) {
      files.push({ path: file.path, mode: file.mode, contentBase64: deps.openValue(file.valueId).toString('base64'), secret: file.name });
    }
  } catch (error) {
    // A stop needs no values: it must arrive even where they are gone.
    if (!isFailure(error)) throw error;
    if (spec.desired === 'run') return refused(spec, 'missing_secret', error.message, error.hint ?? null);
  }
  const service = spec.role === 'service';
  return {
    ok: true,
    instance: {
      ...common,
      driver: choice.ok ? choice.driver : artifact.kind === 'bundle' ? 'process' : 'docker',
      artifact,
      ...baseOf(artifact, release),
      commands: spec.commands ?? [entrypoint.command],
      env,
      secretEnv,
      files,
      port: service ? entrypoint.port : null,
      listens: service && entrypoint.listens,
      resources: entrypoint.resources,
      ...(spec.cores === undefined ? {} : { cores: spec.cores }),
      health: entrypoint.health,
      restart: service ? entrypoint.restart : 'never',
      stop: entrypoint.stop,
      hooks: service ? entrypoint.hooks : { afterStart: [], beforeStop: [], required: false },
      volumes: entrypoint.volumes,
      ...(entrypoint.container === undefined ? {} : { container: entrypoint.container }),
      ...(entrypoint.container?.host === undefined
        ? {}
        : { granted: grantedTo(deps.view, common.app.id, common.environment?.name ?? null) }),
      ...(release.manifest.uses.length === 0 ? {} : { uses: release.manifest.uses }),
      singleton: entrypoint.singleton,
      disconnect: entrypoint.disconnect,
      packResult: false,
      timeoutMs: service ? null : spec.role === 'before-deploy' ? BUILD_TIMEOUT_MS : ONE_OFF_TIMEOUT_MS,
    },
  };
}

function baseOf(artifact: Artifact, { manifest: { build } }: Release): Pick<DesiredInstance, 'base'> {
  const isFolder = artifact.kind === 'bundle' && (build.kind === 'none' || build.kind === 'commands');
  return isFolder && build.base !== null ? { base: build.base } : {};
}

function valueOf(deps: DesiredDeps, source: EnvSource): string {
  return source.kind === 'plain' ? source.value : deps.openValue(source.valueId).toString('utf8');
}

function refused(spec: InstanceSpec, code: Reason['code'], message: string, hint: string | null): Compiled {
  return { ok: false, reason: { code, message, hint, lastLines: [], instanceId: spec.id } };
}

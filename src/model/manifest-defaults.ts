// From what the file says to what counts: every default of a manifest, in one place.
//
// Defaults: one Instance; 0.1 cores and 128Mi requested, at most 1 core and 512Mi (so that ten small Apps fit on a laptop and one that
// runs wild does not take it down); 1Gi of disk; `web` listens, others when they have a port, routes, a Service or a check over the
// network; what listens is checked by a TCP connection, what does not is healthy after one second of running; check every 5s, 2s each,
// 1 success, 3 failures, 30s grace; traffic as in traffic-policy.ts; surge 1, unavailable 0, deadline 5m, drain 30s; SIGTERM and 30s to
// stop; services are always restarted, one-offs never.

import type { AppPages } from './app-pages.ts';
import { completeContainer } from './manifest-container.ts';
import { completeTraffic } from './manifest-traffic.ts';
import type { BuildInput, EntrypointInput, EnvironmentInput, OverrideInput, ResourcesInput } from './manifest-schema.ts';
import { completeRoute } from './manifest-route.ts';
import type { RouteInput } from './manifest-route.ts';
import type {
  Build,
  EntrypointOverride,
  EntrypointRun,
  EntrypointSpec,
  EnvironmentSection,
  Health,
  Resources,
  RouteSpec,
} from './manifest-types.ts';

const MIB = 2 ** 20;
const CPU = { request: 0.1, limit: 1 } as const;
const MEMORY = { request: 128 * MIB, limit: 512 * MIB } as const;
const DISK_BYTES = 1024 * MIB;
const VOLUME_BYTES = 1024 * MIB;
const SETTLE_MS = 1000;

/** The name of the built-in file server as first word of a command; the second is the folder. */
const STATIC_SERVER = 'libra:static';

export function completeBuild(input: BuildInput | undefined): Build {
  if (input?.image !== undefined) return { kind: 'image', image: input.image };
  if (input?.dockerfile !== undefined) return { kind: 'dockerfile', dockerfile: input.dockerfile };
  if (input?.static !== undefined) return { kind: 'static', directory: input.static, commands: input.commands ?? [] };
  const base = input?.base ?? null;
  return input?.commands === undefined || input.commands.length === 0
    ? { kind: 'none', base }
    : { kind: 'commands', commands: input.commands, base };
}

/** What kind of Entrypoint the input describes. */
export function runOf(input: Pick<EntrypointInput, 'run' | 'schedule'>): EntrypointRun {
  return input.run ?? (input.schedule === undefined ? 'service' : 'schedule');
}

/** Whether an Entrypoint listens. `provides`: a Service of the App is answered by it. */
export function listensOf(name: string, input: EntrypointInput, provides: boolean): boolean {
  if (runOf(input) !== 'service') return false;
  if (name === 'web' || provides) return true;
  return input.port !== undefined || (input.routes?.length ?? 0) > 0 || input.health?.http !== undefined || input.health?.tcp === true;
}

function completeResources(input: ResourcesInput | undefined): Resources {
  return {
    cpu: completeCpu(input?.cpu),
    memory: bounds(input?.memory, MEMORY, (requestBytes, limitBytes) => ({ requestBytes, limitBytes })),
    diskBytes: input?.disk ?? DISK_BYTES,
    ...(input?.devices === undefined ? {} : { devices: input.devices }),
  };
}

function completeCpu(input: ResourcesInput['cpu']): Resources['cpu'] {
  const bind = typeof input === 'object' && input.bind === true;
  if (typeof input === 'object' && input.cores !== undefined) return { request: input.cores, limit: input.cores, bind };
  return bounds(input, CPU, (request, limit) => ({ request, limit, bind }));
}

/** One number is both; of a pair, the missing one follows the given one: never a limit below the request. */
function bounds<T>(
  input: number | { readonly request?: number | undefined; readonly limit?: number | undefined } | undefined,
  defaults: { readonly request: number; readonly limit: number },
  make: (request: number, limit: number) => T,
): T {
  if (typeof input === 'number') return make(input, input);
  if (input?.request === undefined && input?.limit === undefined) return make(defaults.request, defaults.limit);
  const request = input.request ?? Math.min(defaults.request, input.limit ?? defaults.request);
  return make(request, input.limit ?? Math.max(defaults.limit, request));
}

function completePages(input: NonNullable<EntrypointInput['pages']>): AppPages {
  return Object.fromEntries(Object.entries(input).filter(([, text]) => text !== undefined));
}

function completeRoutes(input: readonly RouteInput[]): readonly RouteSpec[] {
  return input.map(completeRoute);
}

function completeHealth(input: EntrypointInput['health'], listens: boolean): Health {
  const probe = ((): Health['probe'] => {
    if (input?.http !== undefined) return { kind: 'http', path: input.http };
    if (input?.command !== undefined) return { kind: 'command', command: input.command };
    return listens ? { kind: 'tcp' } : { kind: 'running', settleMs: SETTLE_MS };
  })();
  return {
    probe,
    intervalMs: input?.interval ?? 5000,
    timeoutMs: input?.timeout ?? 2000,
    healthy: input?.healthy ?? 1,
    unhealthy: input?.unhealthy ?? 3,
    graceMs: input?.grace ?? 30_000,
  };
}

/** `provides`: a Service of the App is answered by it. `build`: gives the command of the built-in file server. */
export function completeEntrypoint(name: string, input: EntrypointInput, build: Build, provides: boolean): EntrypointSpec {
  const run = runOf(input);
  const listens = listensOf(name, input, provides);
  const command =
    input.command ?? (name === 'web' && build.kind === 'static' && input.image === undefined ? [STATIC_SERVER, build.directory] : []);
  return {
    name,
    run,
    command,
    image: input.image ?? null,
    port: input.port ?? null,
    listens,
    env: input.env ?? {},
    instances: input.instances ?? 1,
    resources: completeResources(input.resources),
    health: completeHealth(input.health, listens),
    routes: input.routes === undefined ? null : completeRoutes(input.routes),
    traffic: completeTraffic(input.traffic),
    ...(input.pages === undefined ? {} : { pages: completePages(input.pages) }),
    rollout: {
      surge: input.rollout?.surge ?? 1,
      unavailable: input.rollout?.unavailable ?? 0,
      deadlineMs: input.rollout?.deadline ?? 300_000,
      drainMs: input.rollout?.drain ?? 30_000,
    },
    placement: {
      strategy: input.placement?.strategy ?? 'auto',
      labels: input.placement?.labels ?? {},
      perNode: input.placement?.perNode ?? 0,
      ...(input.placement?.spread === undefined ? {} : { spread: input.placement.spread }),
      ...(input.placement?.near === undefined ? {} : { near: input.placement.near }),
      ...(input.placement?.apart === undefined ? {} : { apart: input.placement.apart }),
    },
    singleton: input.singleton ?? false,
    disconnect: completeDisconnect(input.disconnect),
    restart: input.restart ?? (run === 'service' ? 'always' : 'never'),
    stop: { signal: input.stop?.signal ?? 'SIGTERM', timeoutMs: input.stop?.timeout ?? 30_000 },
    hooks: {
      afterStart: input.hooks?.afterStart ?? [],
      beforeStop: input.hooks?.beforeStop ?? [],
      required: input.hooks?.required ?? false,
    },
    volumes: (input.volumes ?? []).map((volume) => ({ name: volume.name, path: volume.path, sizeBytes: volume.size ?? VOLUME_BYTES })),
    files: (input.files ?? []).map((file) => ({ secret: file.secret, path: file.path, mode: file.mode ?? 0o400 })),
    ...(input.container === undefined ? {} : { container: completeContainer(input.container) }),
    schedule:
      run === 'schedule'
        ? {
            cron: input.schedule ?? '',
            timezone: input.timezone ?? 'UTC',
            overlap: input.overlap ?? 'skip',
            missed: input.missed ?? 'skip',
          }
        : null,
  };
}

/** A replacement may start only after the cut-off one has surely stopped: twice the time where only the first is given. */
function completeDisconnect(input: EntrypointInput['disconnect']): EntrypointSpec['disconnect'] {
  const stopAfterMs = input?.stopAfter ?? Math.min(30_000, (input?.replaceAfter ?? 60_000) / 2);
  return { stopAfterMs, replaceAfterMs: input?.replaceAfter ?? stopAfterMs * 2 };
}

function completeOverride(input: OverrideInput): EntrypointOverride {
  return {
    instances: input.instances,
    resources: input.resources === undefined ? undefined : completeResources(input.resources),
    routes: input.routes === undefined ? undefined : completeRoutes(input.routes),
    env: input.env,
  };
}

export function completeEnvironment(input: EnvironmentInput): EnvironmentSection {
  return {
    runtime: input.runtime ?? null,
    ...(input.protected === undefined ? {} : { protected: input.protected }),
    env: input.env ?? {},
    entrypoints: Object.fromEntries(Object.entries(input.entrypoints ?? {}).map(([name, override]) => [name, completeOverride(override)])),
  };
}

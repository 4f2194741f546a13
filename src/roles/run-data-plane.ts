// The data-plane process: Edge and API Proxy on one core, their admin socket and the answer to SIGTERM. Options are plain data, so that whoever starts it
// can hand them over as JSON.

import type { Clock } from '../lib/clock.ts';
import type { Log } from '../sys/log.ts';
import { createApiProxy } from '../apiproxy/api-proxy.ts';
import type { ApiProxy } from '../apiproxy/api-proxy.ts';
import { createIdentityFile } from '../tunnel/identity-file.ts';
import { createAdmin } from '../edge/admin.ts';
import { createCore } from '../dataplane/core.ts';
import { createEdge } from '../edge/edge.ts';
import type { Edge } from '../edge/edge.ts';
import type { ListenAddress } from '../dataplane/front.ts';
import { createHttpLink } from '../dataplane/link.ts';

export interface DataPlaneOptions {
  readonly edgeId: string;
  readonly version: string;
  /** `{fd: 3}` where the keeper holds the listening socket. */
  readonly listen: readonly ListenAddress[];
  /** Where Apps of this machine reach Services; absent: nowhere. */
  readonly apiProxy?: {
    /** Callers in containers. */
    readonly inside?: { readonly file: string; readonly port: number };
    readonly listen: readonly ListenAddress[];
    readonly callLog: { readonly file: string; readonly fileBytes: number } | null;
  };
  /** JSON file with `url` and `token` of control; may come and change later. */
  readonly connectionFile: string;
  readonly tableFile: string;
  readonly accessLog: { readonly file: string; readonly fileBytes: number } | null;
  /** Unix socket for /metrics, /healthz and /table; at most 100 bytes. */
  readonly admin: { readonly socketPath: string } | null;
  readonly drainMs: number;
  readonly trusted?: readonly string[];
  readonly proxied?: readonly string[];
  readonly h2c?: boolean;
  readonly near?: readonly string[];
  readonly savesTable?: boolean;
  /** Of this machine; absent: there is only one. */
  readonly nodeId?: string;
  /** Who this machine is to the others: a JSON file that may come and change later. Absent: there are none. */
  readonly identityFile?: string;
}

export interface DataPlane {
  readonly edge: Edge;
  readonly apiProxy: ApiProxy | null;
  /** Resolves when it has stopped, on request or by a signal. */
  readonly stopped: Promise<void>;
  stop(): Promise<void>;
}

/** Starts it and returns when it serves. `signals`: stop on SIGTERM and SIGINT. */
export async function runDataPlane(
  options: DataPlaneOptions,
  deps: { readonly clock: Clock; readonly log: Log; readonly signals: boolean },
): Promise<DataPlane> {
  const { clock, log } = deps;
  // While one process takes over from another, both have something to tell about what they still carry.
  const edgeId = `${options.edgeId}.${process.pid}`;
  const link = createHttpLink({ connectionFile: options.connectionFile, edgeId, clock });
  const identity = options.identityFile === undefined ? null : createIdentityFile(options.identityFile, { clock, log });
  const core = createCore({ ...options, edgeId, link, clock, log, ...(identity === null ? {} : { identity }) });
  const edge = createEdge({ ...options, clock, log }, core);
  const apiProxy =
    options.apiProxy === undefined ? null : createApiProxy({ ...options.apiProxy, identity: identity ?? (() => null), clock, log }, core);
  const furtherMetrics = apiProxy === null ? {} : { furtherMetrics: () => apiProxy.metrics() };
  const admin = options.admin === null ? null : createAdmin({ socketPath: options.admin.socketPath, edge, ...furtherMetrics });
  await core.start();
  await edge.start();
  await apiProxy?.start();
  // Traffic is worth more than the window on it.
  await admin?.start().catch((error: unknown) => log.warn({ error }, 'admin socket cannot be opened; serving without'));

  let resolveStopped = (): void => undefined;
  const stopped = new Promise<void>((resolve) => {
    resolveStopped = resolve;
  });
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      log.info({ drainMs: options.drainMs }, 'data plane is stopping: no new connections, requests are finished');
      const { drainMs } = options;
      await Promise.all([edge.stop({ drainMs }), apiProxy?.stop({ drainMs })]);
      await core.stop();
      await admin?.stop();
      log.info({}, 'data plane has stopped');
      resolveStopped();
    })();
    return stopping;
  };
  if (deps.signals) for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());
  return { edge, apiProxy, stopped, stop };
}

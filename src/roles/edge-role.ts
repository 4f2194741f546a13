// The Edge of this machine: librad makes the keeper hold its sockets and starts its workers; what they follow they read from a file.

import { createTrusted } from '../proxy/client-address.ts';
import { createDataPlaneProcess } from './data-plane-process.ts';
import type { DataPlaneProcess, EdgeConnection, HeldPorts } from './data-plane-process.ts';
import { edgesServe } from './edge-metrics.ts';
import type { Librad } from './librad-parts.ts';
import { trustedNetwork } from './trusted-network.ts';

/** So long the start waits for the Edge. */
const EDGE_START_MS = 5_000;

export interface EdgeRole {
  readonly host: string;
  readonly ports: HeldPorts;
  /** Where Apps of this machine reach Services. */
  readonly apiProxyUrl: string;
  /** Of the workers. */
  readonly sockets: readonly string[];
  readonly onEnded: DataPlaneProcess['onEnded'];
  readonly reconnect: DataPlaneProcess['reconnect'];
  /** Starts the workers and waits a while for them to serve. */
  serve(connection: EdgeConnection, nodeId: string): Promise<void>;
}

/**
 * Holds the ports; connections queue from then on. Throws `port_taken`, `invalid_input`.
 * @param name that its Edges are told apart by
 * @param what hasRoutes false: clients do not come here, and only the API Proxy listens
 */
export async function holdEdgeRole(librad: Librad, name: string, what: { readonly hasRoutes: boolean }): Promise<EdgeRole> {
  const { settings, paths, keeper, clock, log, undo } = librad;
  // A range that is none is refused here, not by workers that would never come up.
  createTrusted([...(settings.edgeTrusted ?? []), ...(settings.edgeProxied ?? [])]);
  trustedNetwork(settings.trustedNetwork ?? []);
  const host = settings.edgeHost ?? '127.0.0.1';
  const workers = what.hasRoutes ? (settings.edgeWorkers ?? 1) : 1;
  const dataPlane = createDataPlaneProcess({
    keeper,
    paths,
    clock,
    log,
    name,
    edge: what.hasRoutes ? { host, port: settings.edgePort ?? 8080, tlsPort: settings.edgeTlsPort ?? 8443 } : null,
    apiProxy: { host: '127.0.0.1', port: settings.apiproxyPort ?? 7480 },
    path: settings.path,
    home: settings.home,
    workers,
    trusted: settings.edgeTrusted ?? [],
    proxied: settings.edgeProxied ?? [],
    h2c: settings.edgeH2c === 'on',
    near: settings.trustedNetwork ?? [],
  });
  const sockets = Array.from({ length: workers }, (_, worker) => paths.edgeSocket(worker));
  const ports = await dataPlane.hold();
  undo.push(() => (librad.comesBack() ? undefined : dataPlane.stop()));
  return {
    host,
    ports,
    apiProxyUrl: `http://127.0.0.1:${ports.apiProxy}`,
    sockets,
    onEnded: dataPlane.onEnded,
    reconnect: dataPlane.reconnect,
    serve: async (connection, nodeId) => {
      await dataPlane.serve(connection, { nodeId, identityFile: paths.identity });
      // Whoever is told that the platform is up may ask at once.
      if (!(await edgesServe(sockets, clock, EDGE_START_MS))) log.warn({}, 'the Edge does not serve yet; going on without waiting for it');
    },
  };
}

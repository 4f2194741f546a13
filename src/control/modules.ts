// The modules of control, built in the order of their dependence and handed what they need of each other. They are built anew whenever
// this control plane begins or ceases to lead: what they remember is of one term, and what they write in it is fenced.

import { table } from '../api/table.ts';
import type { ApiTable } from '../api/table.ts';
import type { BlobStore } from '../blob/blob.ts';
import { createApps } from './apps/apps.ts';
import { createBlobHandlers } from './apps/blobs.ts';
import { createGrantHandlers } from './auth/grants.ts';
import { createBuilds } from './builds/builds.ts';
import { createCertificates } from './certificates/certificates.ts';
import { createDomains } from './certificates/domains.ts';
import { createCluster } from './cluster/cluster.ts';
import type { Gift } from './cluster/invitations.ts';
import { createMachines } from './cluster/machines.ts';
import type { Sealer } from './config/sealer.ts';
import { createValues } from './config/values.ts';
import type { ControlContext } from './context.ts';
import { createDeploys } from './deploys/deploys.ts';
import { createSessions } from './dev/sessions.ts';
import type { Events } from './events/events.ts';
import type { HandlersOf } from './handler.ts';
import type { Leadership } from './leadership/leadership.ts';
import type { ChangeFeed } from './librad/change-feed.ts';
import { createLibrad } from './librad/librad.ts';
import { metricsText } from './metrics.ts';
import { startReconcilers } from './reconcile.ts';
import type { Reconcilers } from './reconcile.ts';
import { createRouting } from './routing/routing.ts';
import type { Routing } from './routing/routing.ts';
import { createSystem } from './system.ts';

export interface ModulesOptions {
  /** Its reconcilers run, and machines are connected to it. */
  readonly leads: boolean;
  readonly leadership: Pick<Leadership, 'planes'>;
  /** Other control planes may have led before. */
  readonly hasOthers: boolean;
  readonly sealer: Sealer;
  /** Of what Apps keep under keys. */
  readonly feed: ChangeFeed;
  readonly events: Pick<Events, 'handlers'>;
  /** Blobs of this control plane; those of the context are of all. */
  readonly ownBlobs: BlobStore;
  readonly nodeId: string;
  readonly startedAtMs: number;
  readonly storeEngine: string;
  /** Of the API; null until it listens. */
  readonly address: () => { readonly url: string; readonly host: string; readonly port: number } | null;
  /** Where it is reached over TLS; null: nowhere, or not yet. */
  readonly tlsUrl: () => string | null;
  readonly furtherAddresses: () => Readonly<Record<string, string>>;
  /** Loops that run whichever control plane leads. */
  readonly ownLoops: () => readonly Reconcilers[];
  readonly onShutdown: (options: { readonly keepInstances: boolean }) => void;
  readonly gift: Gift | undefined;
  readonly edgeReconnectGraceMs?: number | undefined;
}

export interface Modules {
  readonly handlers: HandlersOf<ApiTable>;
  /** Prometheus text. */
  metrics(): string;
  readonly edgeEnded: Routing['edgeEnded'];
  /** Leads the platform's host to this API, when it listens. */
  servePlatform(): void;
  /** Ends its streams at once; resolves when no pass runs any more. */
  stop(): Promise<void>;
}

export async function createModules(context: ControlContext, options: ModulesOptions): Promise<Modules> {
  const { settings, view } = context;
  const { sealer, nodeId, leads } = options;
  const values = createValues(context, { sealer });
  values.check();
  const certificates = await createCertificates(context, { sealer });
  const routing = createRouting(context, {
    certificates: certificates.source,
    otherEdges: options.hasOthers,
    ...(options.edgeReconnectGraceMs === undefined ? {} : { reconnectGraceMs: options.edgeReconnectGraceMs }),
  });
  const domains = createDomains(context, { sealer, routing, authorityPem: certificates.authorityPem });
  const machines = await createMachines(context, { sealer, url: options.tlsUrl, gift: options.gift });
  const cluster = createCluster(context, { openValue: values.openValue, ownNodeId: nodeId });
  const deploys = createDeploys(context, {
    trafficState: routing.trafficState,
    leftOut: (instanceId) => routing.trafficState().leftOut(instanceId),
    usageOf: cluster.usageOf,
    everywhere: routing.everywhere,
    routeOwner: routing.routeOwner,
    otherAuthority: routing.otherAuthority,
    urlOf: routing.urlOf,
    environmentRoutes: routing.environmentRoutes,
    resolveValues: values.resolveValues,
    isValueAvailable: values.isAvailable,
    removeValuesOf: values.removeValuesOf,
    instanceStreams: cluster.instanceStreams,
  });
  const builds = createBuilds(context);
  const sessions = createSessions(context, { routing, values });
  const librad = createLibrad(context, { sealer, feed: options.feed, leads, values, urlOf: routing.urlOf });
  const reconcilers = leads
    ? startReconcilers(
        [
          ...deploys.reconcilers,
          ...builds.reconcilers,
          ...cluster.reconcilers,
          ...domains.reconcilers,
          ...sessions.reconcilers,
          ...librad.reconcilers,
        ],
        context,
      )
    : null;
  const unsubscribes = [
    routing.onTrafficChange(() => reconcilers?.wake('rollout')),
    routing.onAttachments(() => reconcilers?.wake('dev-sessions')),
    librad.onEarlier((name) => reconcilers?.wake(name)),
  ];
  const statuses = (): ReturnType<Reconcilers['statuses']> =>
    [...(reconcilers === null ? [] : [reconcilers]), ...options.ownLoops()].flatMap((loops) => loops.statuses());

  const missing = (): string | null => {
    if (!leads) return options.leadership.planes().some((plane) => plane.leads) ? null : 'No control plane leads at the moment.';
    return cluster.isConnected(nodeId) ? null : 'The agent of this machine is not connected yet.';
  };
  const system = createSystem(context, {
    storeEngine: options.storeEngine,
    startedAtMs: options.startedAtMs,
    planes: options.leadership.planes,
    leads,
    addresses: () => {
      const address = options.address();
      const tlsUrl = options.tlsUrl();
      return {
        ...(address === null ? {} : { api: address.url }),
        ...(tlsUrl === null ? {} : { apiTls: tlsUrl }),
        apps: `${settings.publicScheme}://<app>.${settings.domain}:${settings.publicPort}`,
        ...options.furtherAddresses(),
      };
    },
    edges: routing.edges,
    reconcilers: statuses,
    warnings: () => [
      ...cluster.warnings(),
      ...cluster
        .forwarding()
        .flatMap(({ node, target, failing }) =>
          failing === null ? [] : [`Output on ${node} is not forwarded to ${target} at the moment: ${failing}. It is kept and sent later.`],
        ),
    ],
    missing,
    shutdown: options.onShutdown,
  });

  return {
    handlers: {
      ...createApps(context, routing).handlers,
      ...deploys.handlers,
      ...values.handlers,
      ...sessions.handlers,
      ...cluster.handlers,
      ...machines.handlers,
      grants: createGrantHandlers(context),
      ...routing.handlers,
      ...options.events.handlers,
      ...domains.handlers,
      ...librad.handlers,
      blobs: createBlobHandlers({ blobs: context.blobs, own: options.ownBlobs }),
      system,
    },
    metrics: () =>
      metricsText({
        view,
        version: settings.version,
        leads,
        edges: routing.trafficState().edges,
        reconcilers: statuses(),
        usageOf: cluster.usageOf,
        nodeUsageOf: cluster.nodeUsageOf,
        forwarding: cluster.forwarding(),
      }),
    edgeEnded: routing.edgeEnded,
    servePlatform: () => {
      const address = options.address();
      if (address === null || !settings.apiThroughEdge) return;
      // Whoever listens everywhere is reached here.
      const isEverywhere = address.host === '0.0.0.0' || address.host === '::';
      routing.servePlatform({ nodeId, host: isEverywhere ? '127.0.0.1' : address.host, port: address.port });
    },
    stop: async () => {
      for (const unsubscribe of unsubscribes) unsubscribe();
      librad.stop();
      // Those who are connected look for the one that leads while the last passes end.
      cluster.stop();
      domains.stop();
      routing.stop();
      await reconcilers?.stop();
    },
  };
}

/** The same table with handlers that are looked up at each call. */
export function currentHandlers(current: () => Modules): HandlersOf<ApiTable> {
  type AnyHandler = ((...words: readonly unknown[]) => unknown) & { readonly check?: (call: unknown) => unknown };
  const handlerOf = (noun: string, verb: string): AnyHandler => {
    // HandlersOf has a function for each verb of the table.
    const nouns = current().handlers as unknown as Readonly<Record<string, Readonly<Record<string, AnyHandler>>>>;
    const handler = nouns[noun]?.[verb];
    if (handler === undefined) throw new TypeError(`no handler for ${noun}.${verb}`);
    return handler;
  };
  const nouns = Object.entries(table).map(([noun, verbs]) => [
    noun,
    Object.fromEntries(
      Object.keys(verbs).map((verb) => [
        verb,
        Object.assign((...words: readonly unknown[]) => handlerOf(noun, verb)(...words), {
          check: (call: unknown) => handlerOf(noun, verb).check?.(call),
        }),
      ]),
    ),
  ]);
  return Object.fromEntries(nouns) as HandlersOf<ApiTable>; // built verb by verb from the very table
}

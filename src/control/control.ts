// The control plane as a whole: what it keeps for as long as it runs, the API before the modules of the present term, and the order of
// starting and stopping. Nothing is decided here.

import { dirname } from 'node:path';
import { table } from '../api/table.ts';
import type { BlobStore } from '../blob/blob.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import type { Store } from '../store/store.ts';
import { createView } from '../store/view.ts';
import type { View } from '../store/view.ts';
import type { Log } from '../sys/log.ts';
import { machineName } from '../tunnel/identity.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { createBlobCare } from './apps/blob-care.ts';
import { createInstanceAuth } from './auth/instances.ts';
import { createAuthorise } from './auth/scope.ts';
import { ensureDefaultTeam } from './auth/teams.ts';
import { createAuthenticate, ensureOwnerToken } from './auth/tokens.ts';
import { ensureLocalNode } from './cluster/bootstrap.ts';
import { openAuthorityKey } from './certificates/authority.ts';
import { authorityRecords } from './certificates/records.ts';
import type { Gift } from './cluster/invitations.ts';
import { createMachines } from './cluster/machines.ts';
import { allCollections } from './collections.ts';
import { createSealer, loadMasterKey } from './config/sealer.ts';
import type { Sealer } from './config/sealer.ts';
import type { ControlContext, ControlSettings } from './context.ts';
import { createEvents } from './events/events.ts';
import { localNodeId, localToken } from './local-files.ts';
import { keepIdentity } from './kept-identity.ts';
import { createForward } from './leadership/forward.ts';
import { aloneInLead, createLeadership } from './leadership/leadership.ts';
import { createPeerBlobs } from './leadership/peer-blobs.ts';
import { createPeers } from './leadership/peer.ts';
import type { Peer } from './leadership/peer.ts';
import { controlPlaneRecords } from './leadership/records.ts';
import { createSeats } from './leadership/seats.ts';
import { createVouching } from './leadership/vouch.ts';
import { elsewhere } from './leadership/where.ts';
import { createChangeFeed } from './librad/change-feed.ts';
import { kvRecords } from './librad/records.ts';
import { createModules, currentHandlers } from './modules.ts';
import type { ModulesOptions } from './modules.ts';
import { startReconcilers } from './reconcile.ts';
import type { Reconcilers } from './reconcile.ts';
import { createIdempotencyStore } from './server-idempotency.ts';
import { createServer } from './server.ts';
import type { ServerAddress, ServerLimits, ServerOptions } from './server.ts';
import { startTlsServer } from './tls-server.ts';

export interface ControlOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store;
  /** Other control planes may use it at the same time; default: none can. */
  readonly isShared?: boolean;
  /** For people: `sqlite`. */
  readonly storeEngine: string;
  readonly blobs: BlobStore;
  readonly settings: ControlSettings;
  /** `<data>/master.key`; node.id, node.token and edge.token are kept beside it. */
  readonly masterKeyFile: string;
  /** The kept owner credential; null at the first start. */
  readonly ownerSecret: string | null;
  /** For the Node record of this machine; becomes a DNS label. */
  readonly nodeName: string;
  /** What another machine needs to be a control plane of this platform. Throws `unsupported` where none can be. Absent: none can. */
  readonly gift?: Gift;
  /** Further addresses for people, by role, as they are when asked. */
  readonly addresses?: () => Readonly<Record<string, string>>;
  /** Further Prometheus text for /metrics, such as the Edge's. Must not reject. */
  readonly furtherMetrics?: () => Promise<string>;
  /** Called when somebody with the right asks for the end of this librad. Must return at once. */
  readonly onShutdown: (options: { readonly keepInstances: boolean }) => void;
  /** Called with what this machine shows to others, knows them by and signs with for its Instances: at first, and whenever it is renewed. */
  readonly onIdentity?: (identity: MachineIdentity) => void;
  readonly limits?: Partial<ServerLimits>;
  /** After the start so long an Edge that has not come back is not taken for none, milliseconds; default 5,000. */
  readonly edgeReconnectGraceMs?: number;
}

export interface StartedControl extends ServerAddress {
  readonly nodeId: string;
  readonly ownerToken: string;
  readonly nodeToken: string;
  readonly edgeToken: string;
  /** Where it is reached over TLS; null: nowhere. */
  readonly tls: ServerAddress | null;
  /** For whoever runs Edges: the process of that one has ended. */
  readonly edgeEnded: (edgeId: string) => void;
}

export interface ListenAddresses {
  readonly host: string;
  readonly port: number;
  /** Over TLS, for machines that join and for people elsewhere; absent: nowhere. */
  readonly tls?: { readonly host: string; readonly port: number };
}

export interface Control {
  /** Port 0 takes a free one. Resolves when the API answers. Throws what the server, the store or the master key refuse with. */
  start(listen: ListenAddresses): Promise<StartedControl>;
  /** Takes no new calls, ends streams, waits for open calls and passes, writes waiting events. Idempotent. */
  stop(): Promise<void>;
}

/** Whoever leads writes every second: a watch that is silent for so long hangs on a member that is stuck. */
const QUIET_MS = 4_000;

export function createControl(options: ControlOptions): Control {
  const undo: (() => Promise<void> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  return {
    start: async (listen) => {
      try {
        return await startControl(options, listen, undo);
      } catch (error) {
        await stop();
        throw error;
      }
    },
    stop,
  };
}

async function startControl(
  options: ControlOptions,
  listen: ListenAddresses,
  undo: (() => Promise<void> | void)[],
): Promise<StartedControl> {
  const { clock, random, log, store, settings } = options;
  const isShared = options.isShared ?? false;
  const feed = createChangeFeed({ store, clock, prefix: `${kvRecords.name}/` });
  const running = createView({
    store,
    collections: allCollections,
    clock,
    log,
    onBatch: feed.push,
    onLoaded: feed.restart,
    ...(isShared ? { quietMs: QUIET_MS } : {}),
  });
  undo.push(() => running.stop());
  await running.start();
  const { view } = running;
  const { sealer, masterKey } = await openSealer(view, options.masterKeyFile, random);

  const base = { clock, random, log, store, view, settings };
  const events = createEvents({ ...base, blobs: options.blobs });
  events.start();
  undo.push(() => events.stop());

  const starting: ControlContext = { ...base, blobs: options.blobs, event: events.record };
  const dataFolder = dirname(options.masterKeyFile);
  const team = await ensureDefaultTeam(starting);
  const nodeId = await localNodeId(dataFolder, starting);
  const node = await ensureLocalNode(starting, { nodeId, hostname: options.nodeName, teamId: team.id });
  const tokens = {
    ownerToken: await ensureOwnerToken(starting, options.ownerSecret, ...(isShared ? [nodeId] : [])),
    nodeToken: await localToken(dataFolder, starting, { kind: 'node', nodeId }),
    edgeToken: await localToken(dataFolder, starting, { kind: 'edge', nodeId }),
  };

  // For who comes with a certificate, and for the way to others; what is changed about machines is of the term.
  let tlsAddress: ServerAddress | null = null;
  const machines = await createMachines(starting, { sealer, url: () => tlsAddress?.url ?? null });
  const onIdentity = options.onIdentity ?? ((): void => undefined);
  const parts = [machineName(nodeId, 'node'), machineName(nodeId, 'edge')];
  const identity = keepIdentity({ issue: () => machines.ownIdentity(nodeId, parts), onRenewed: onIdentity, clock, log });
  undo.push(() => identity.stop());
  onIdentity(identity.first);
  const peers = createPeers(machines.authorityPem);
  undo.push(() => peers.close());
  const others = (): readonly Peer[] =>
    view.list(controlPlaneRecords).flatMap(({ document: { id, url } }) => (id === nodeId || url === null ? [] : [{ id, url }]));
  const blobs = isShared ? createPeerBlobs({ own: options.blobs, peers, others, token: tokens.nodeToken, log }) : options.blobs;
  const context: ControlContext = { ...starting, blobs };

  const onTakenOver = (from: string): void =>
    context.event({
      level: 'warning',
      kind: 'control.leads',
      message: `The control plane ${node.name} leads now; ${from} did before.`,
      subject: { nodeId },
      runbook: 'control-plane-changed',
    });
  const leadership = isShared ? createLeadership({ store, view, clock, log, onChange: () => seats.wake(), onTakenOver }) : aloneInLead();
  undo.push(() => leadership.stop());
  const ownLoops: Reconcilers[] = [];
  let address: ServerAddress | null = null;
  const vouching = createVouching({ masterKey, clock });
  const modulesOptions: Omit<ModulesOptions, 'leads'> = {
    leadership,
    hasOthers: isShared,
    sealer,
    feed,
    events,
    ownBlobs: options.blobs,
    nodeId,
    startedAtMs: clock.now(),
    storeEngine: options.storeEngine,
    address: () => address,
    tlsUrl: () => tlsAddress?.url ?? null,
    furtherAddresses: () => options.addresses?.() ?? {},
    ownLoops: () => ownLoops,
    onShutdown: options.onShutdown,
    gift: options.gift,
    edgeReconnectGraceMs: options.edgeReconnectGraceMs,
  };
  const seats = await createSeats(context, { leadership, build: (its, leads) => createModules(its, { ...modulesOptions, leads }) });
  undo.push(() => seats.stop());

  const auditLog = log.child({ stream: 'audit' });
  const serverOptions: ServerOptions<typeof table> = {
    table,
    handlers: currentHandlers(() => seats.modules()),
    idempotency: createIdempotencyStore({ store, clock, random }),
    authenticate: createAuthenticate(view, machines.authenticate, createInstanceAuth({ view, clock, authorityPem: machines.authorityPem })),
    authorise: createAuthorise(view),
    clock,
    random,
    log,
    version: settings.version,
    domain: settings.domain,
    metrics: async () => seats.modules().metrics() + ((await options.furtherMetrics?.()) ?? ''),
    audit: (entry) => {
      // Machines report every few seconds, and Apps write as they serve; what people do is what the audit is about.
      if (!['node', 'edge', 'instance'].includes(entry.principal.kind)) {
        auditLog.info({ audit: { ...entry, principal: entry.principal.name } }, entry.endpoint);
      }
    },
    ...(isShared
      ? {
          handOn: {
            leaderFor: (bound, headers) => elsewhere(leadership, seats.leads(), bound, headers),
            forward: createForward({ peers, clock, waitFor: (revision, signal) => view.waitFor(revision, signal) }),
            revision: () => view.revision,
            vouching,
            machines,
          },
        }
      : {}),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  };
  const server = createServer(serverOptions);
  ownLoops.push(startReconcilers([createBlobCare(context, { blobs })], context));
  undo.push(async () => {
    for (const loops of ownLoops) await loops.stop();
  });
  const listening = await server.start(listen);
  address = listening;
  // The first to go: an open call is answered before somebody else leads.
  undo.push(() => server.stop());
  if (listen.tls !== undefined) {
    const tlsServer = await startTlsServer({ server: serverOptions, machines, nodeId, listen: listen.tls });
    undo.push(() => tlsServer.stop());
    tlsAddress = tlsServer.address;
  }
  seats.modules().servePlatform();
  // Whoever is on another machine reaches it over TLS only.
  const { url } = tlsAddress ?? listening;
  await leadership.start({ id: nodeId, name: node.name, url, version: settings.version, startedAtMs: modulesOptions.startedAtMs });
  await seats.settled();
  return { ...listening, nodeId, ...tokens, tls: tlsAddress, edgeEnded: (edgeId) => seats.modules().edgeEnded(edgeId) };
}

/** Throws `storage_failed` where the platform of the store has another master key; nothing was written then. */
async function openSealer(view: View, file: string, random: Random): Promise<{ readonly sealer: Sealer; readonly masterKey: Buffer }> {
  const [authority] = view.list(authorityRecords);
  const masterKey = await loadMasterKey(file, random, { isFirst: authority === undefined });
  const sealer = createSealer(masterKey, random);
  try {
    if (authority !== undefined) openAuthorityKey(sealer, authority.document);
  } catch (cause) {
    throw new Failure('storage_failed', {
      message: `${file} holds another master key than that of the platform in the store.`,
      hint: 'Put the master.key of another control plane of this store into its place, or that of the same backup as the store.',
      cause,
    });
  }
  return { sealer, masterKey };
}

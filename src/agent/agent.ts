// The agent of a Node: pulls desired state, supervises what runs, reports. It meets control only through an AgentLink, and everything
// that it supervises lives on when it stops or dies.

import { readFileSync } from 'node:fs';
import { mkdir, statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import type { DesiredInstance } from '../api/agent.ts';
import type { Driver } from '../driver/contract.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import { startLoop } from '../lib/loop.ts';
import type { Loop } from '../lib/loop.ts';
import type { InstanceStatus } from '../model/documents.ts';
import type { Log } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { createPortAllocator } from '../sys/ports.ts';
import { createBuildResults } from './build-result.ts';
import { createBundleCache } from './bundle-cache.ts';
import { createCalls } from './calls.ts';
import type { Calls } from './calls.ts';
import { createContact } from './contact.ts';
import type { Contact } from './contact.ts';
import { startForwarder } from './forward/forwarder.ts';
import type { Forwarder, ForwardTarget, LineSource } from './forward/forwarder.ts';
import { startDataPort } from './data-port.ts';
import type { AgentDataPort, AgentDataPortOptions } from './data-port.ts';
import { createImageMirror } from './image-mirror.ts';
import type { ImageMirror } from './image-mirror.ts';
import { startContainerCallers } from './container-callers.ts';
import type { ContainerCallers } from './container-callers.ts';
import { createIdentityTokens, tokenFile } from './identity-tokens.ts';
import type { IdentityTokens } from './identity-tokens.ts';
import { createInstances, mayRun } from './instances.ts';
import type { Instances } from './instances.ts';
import type { AgentLink } from './link.ts';
import { startMeter } from './meter.ts';
import type { Meter } from './meter.ts';
import { createPorts } from './ports.ts';
import { startReporter } from './report.ts';
import type { Reporter } from './report.ts';
import { createSecretFiles } from './secret-files.ts';
import type { SecretFiles } from './secret-files.ts';
import { createStateFiles } from './state-file.ts';
import { statusOf } from './status.ts';
import { startSync } from './sync.ts';
import type { Sync } from './sync.ts';
import type { Supervisor } from './supervisor.ts';
import { createVolumeGarbage } from './volume-garbage.ts';
import { createVolumeOwners, platformOf } from './volume-owners.ts';
import { createWorkspace } from './workspace.ts';

const COLLECT_EVERY_MS = 300_000;
const BUNDLE_CACHE_BYTES = 5 * 1024 ** 3;
const BUNDLE_CACHE_AGE_MS = 7 * 24 * 3_600_000;
const KEEP_VOLUMES_MS = 7 * 24 * 3_600_000;
const LOOPBACK = '127.0.0.1';
const LOG_BYTES = 10 * 1024 * 1024;
const STOP_TIMEOUT_MS = 15_000;
const LAST_REPORT_MS = 2000;
/** So long the folder of an ended Instance waits for the receiver of its output. */
const LAST_LINES_MS = 10_000;

export interface AgentOptions {
  readonly link: AgentLink;
  readonly drivers: Readonly<Record<string, Driver>>;
  /** Names of those that new Instances may be given; absent: all. The others look after what they run. */
  readonly offered?: readonly string[];
  /** Absolute; programs must be able to traverse it. */
  readonly dataFolder: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly nodeName: string;
  /** Where the output of Instances goes besides; each has one of them. */
  readonly forward?: readonly ForwardTarget[];
  /** Where programs listen and Edges reach them; default 127.0.0.1. */
  readonly address?: string;
  /** Where Edges on other machines reach the Instances; absent: nowhere. */
  readonly dataPort?: AgentDataPortOptions;
  /** Version of the running program, for `libra nodes`. */
  readonly program: string;
  /** Programs that Libra itself brings; `static` gets folder, host and port as its last words. */
  readonly builtinPrograms: { readonly static: readonly string[] };
  /** PATH of programs; default: what the driver gives them. */
  readonly searchPath?: string;
  /** Who this machine is, and by that who its Instances are; absent: they have no token. */
  readonly identity?: () => MachineIdentity;
  /**
   * URLs at which Instances reach the API Proxy: those in the network of this machine, and those in containers with a network of their own.
   * null, absent: they do not.
   */
  readonly apiProxy?: { readonly url: string | null; readonly insideUrl: string | null };
  /** Where the API Proxy of this machine finds which container calls from which address; absent: nobody looks. */
  readonly callersFile?: string;
  /** Longest that programs get to end at `stop({stopInstances: true})`, milliseconds; default 15,000. */
  readonly stopTimeoutMs?: number;
  /** How long volumes of an Environment that is gone are kept, milliseconds; null: for ever. Default: a week. */
  readonly keepVolumesMs?: number | null;
  /** Bytes of output kept per Instance; default 10 MiB. */
  readonly logBytes?: number;
}

export interface Agent {
  start(): Promise<void>;
  /** `stopInstances` false: all programs live on and are found again at the next start. Idempotent. */
  stop(options: { readonly stopInstances: boolean }): Promise<void>;
  /** The identity of this machine has changed. */
  renewIdentity(): void;
  /** What this Node runs now. */
  statuses(): readonly InstanceStatus[];
}

interface Running {
  readonly instances: Instances;
  readonly secrets: SecretFiles;
  readonly tokens: IdentityTokens;
  readonly sync: Sync;
  readonly reporter: Reporter;
  readonly calls: Calls;
  readonly contact: Contact;
  readonly collector: Loop;
  readonly images: ImageMirror;
  readonly meter: Meter;
  readonly callers: ContainerCallers | null;
  readonly forwarder: Forwarder | null;
  readonly dataPort: AgentDataPort | null;
}

export function createAgent(options: AgentOptions): Agent {
  const { clock, random, log, link } = options;
  const drivers = new Map(Object.entries(options.drivers));
  let running: Running | null = null;
  let stopping: Promise<void> | null = null;

  const start = async (): Promise<Running> => {
    const at = (name: string): string => join(options.dataFolder, name);
    for (const name of ['instances', 'volumes']) await mkdir(at(name), { recursive: true, mode: 0o711 });
    await mkdir(at('history'), { recursive: true, mode: 0o700 });
    const states = createStateFiles(at('instances'), log);
    const secrets = await createSecretFiles(options.dataFolder, at('secret-files'));
    const tokens = await createIdentityTokens({
      identity: options.identity ?? null,
      dataFolder: options.dataFolder,
      fallback: at('identity-tokens'),
      clock,
      log,
    });
    const bundles = createBundleCache({ folder: at('bundles'), link, clock, maxBytes: BUNDLE_CACHE_BYTES, maxAgeMs: BUNDLE_CACHE_AGE_MS });
    const images = createImageMirror(bundles, log);
    const identity = options.identity;
    const volumeOwners = createVolumeOwners(at('volumes'), () => (identity === undefined ? 'none' : platformOf(identity().authorityPem)));
    const workspace = createWorkspace({
      folder: states.folder,
      volumesFolder: at('volumes'),
      volumeOwners,
      bundles,
      images,
      secrets,
      nodeName: options.nodeName,
      searchPath: options.searchPath ?? null,
      tokens,
      apiProxy: options.apiProxy ?? { url: null, insideUrl: null },
      logBytes: options.logBytes ?? LOG_BYTES,
      address: options.address ?? LOOPBACK,
      hasOwnPorts: (name) => drivers.get(name)?.hasOwnPorts === true,
    });
    const allocator = createPortAllocator({ file: at('ports.json'), clock });
    const nameOf = (id: string): string => {
      const spec = instances.get(id)?.spec();
      return spec === undefined || spec === null ? `Instance ${id}` : `${spec.app.name}/${spec.entrypoint} (Instance ${id})`;
    };
    let forwarder: Forwarder | null = null;
    let meter: Meter | null = null;
    let callers: ContainerCallers | null = null;
    const instances = createInstances({
      clock,
      random,
      log,
      states,
      secrets,
      tokens,
      workspace,
      drivers: [...drivers.values()],
      driver: (name) => drivers.get(name),
      coreCount: availableParallelism(),
      ports: createPorts(allocator, nameOf),
      results: createBuildResults(link, at('results')),
      staticServer: options.builtinPrograms.static,
      host: options.address ?? LOOPBACK,
      onChange: (state) => {
        reporter.changed(state.id);
        callers?.look();
      },
      beforeForgotten: async (id) => await forwarder?.finish(id, LAST_LINES_MS),
      onForgotten: (id) => allocator.release(id),
    });
    const statusNow = (id: string): InstanceStatus | undefined => {
      const state = instances.get(id)?.state();
      return state === undefined ? undefined : statusOf(state, clock.now());
    };
    const sourceOf = (supervisor: Supervisor): LineSource | null => {
      const spec = supervisor.spec();
      const driver = spec === null ? undefined : drivers.get(spec.driver);
      if (spec === null || driver === undefined) return null;
      return {
        owner: {
          instance: spec.id,
          app: spec.app.name,
          environment: spec.environment?.name ?? null,
          entrypoint: spec.entrypoint,
          slot: spec.slot,
          role: spec.role,
          node: options.nodeName,
        },
        read: (after, signal) =>
          driver.logs(workspace.logFolder(spec.id), { after: after ?? undefined, follow: false, wholeLines: true, signal }),
      };
    };
    const facts = await nodeFacts(options, drivers, at('volumes'));
    const dataPort =
      options.dataPort === undefined
        ? null
        : await startDataPort(options.dataPort, { clock, log, file: at('peers.json'), state: (id) => instances.get(id)?.state() });
    const reporter = startReporter({
      link,
      clock,
      random,
      log,
      node: { ...facts, ...(dataPort === null ? {} : { dataPort: dataPort.address }) },
      status: statusNow,
      measured: () => {
        const newest = meter?.newest() ?? {};
        return newest.usage === undefined || forwarder === null ? newest : { ...newest, forwarding: forwarder.status() };
      },
      ids: () => instances.all().map((supervisor) => supervisor.state().id),
    });
    await instances.recover().catch(async (error: unknown) => {
      await dataPort?.stop();
      throw error;
    });
    tokens.follow(
      () => instances.all().map((supervisor) => supervisor.state()),
      async (id) => {
        const supervisor = instances.get(id);
        const spec = supervisor?.spec() ?? null;
        const running = supervisor?.running() ?? null;
        if (spec !== null && running !== null) await workspace.writeToken(spec, running.driver);
      },
    );
    if (options.callersFile !== undefined) {
      callers = startContainerCallers({
        drivers: [...drivers.values()],
        file: options.callersFile,
        tokenFile: (id) => {
          const spec = instances.get(id)?.spec();
          const folder = spec === undefined || spec === null ? null : tokens.folder(spec);
          return folder === null ? null : tokenFile(folder);
        },
        clock,
        log,
      });
    }
    const contact = createContact(clock, log, instances);
    forwarder =
      options.forward === undefined
        ? null
        : startForwarder({
            targets: options.forward,
            sources: () => instances.all().flatMap((supervisor) => sourceOf(supervisor) ?? []),
            isKnown: (id) => instances.get(id) !== undefined,
            file: at('forward.json'),
            clock,
            random,
            log,
          });
    meter = startMeter({ clock, log, instances, dataFolder: options.dataFolder, historyFolder: at('history') });
    const { history } = meter;
    const calls = createCalls({ link, clock, log, instances, workspace, history, driver: (name) => drivers.get(name) });
    let swept = false;
    const onSnapshot = (wanted: readonly DesiredInstance[]): void => {
      instances.replace(wanted);
      reporter.all();
      if (swept) return;
      swept = true;
      allocator.retain(new Set(instances.all().map((supervisor) => supervisor.state().id)));
      void instances.sweep();
    };
    const sync = startSync({
      link,
      clock,
      random,
      log,
      onSnapshot,
      onDelta: (put, remove) => {
        for (const id of remove) instances.drop(id);
        for (const wanted of put) instances.put(wanted);
      },
      onPeers: (machines) => dataPort?.setPeers(machines),
      onPeersAdded: (machines) => dataPort?.addPeers(machines),
      onSessions: (ports) => dataPort?.setSessions(ports),
      onCall: (message) => calls.take(message),
      onContact: (isSnapshot) => contact.heard(isSnapshot),
    });
    const keepMs = options.keepVolumesMs === undefined ? KEEP_VOLUMES_MS : options.keepVolumesMs;
    const unused =
      keepMs === null
        ? null
        : createVolumeGarbage({
            root: at('volumes'),
            file: at('gone-environments.json'),
            link,
            owners: volumeOwners,
            isUsed: (id) => instances.all().some((supervisor) => supervisor.spec()?.environment?.id === id),
            keepMs,
            everyMs: COLLECT_EVERY_MS,
            clock,
            log,
          });
    const collector = startLoop({
      clock,
      everyMs: COLLECT_EVERY_MS,
      onError: (error) => log.warn({ error: messageOf(error) }, 'old bundles, images and volumes could not be collected'),
      run: async (signal) => {
        // One that cannot be, such as while Docker or control is away, keeps no other from it.
        const byDrivers = [...drivers.values()].map(async (driver) => driver.collect?.());
        const ended = await Promise.allSettled([bundles.collect(), ...byDrivers, unused?.collect(signal) ?? Promise.resolve()]);
        for (const each of ended) if (each.status === 'rejected') throw each.reason;
      },
    });
    return { instances, secrets, tokens, callers, sync, reporter, calls, contact, collector, images, meter, forwarder, dataPort };
  };

  const stop = async (stopInstances: boolean): Promise<void> => {
    if (running === null) return;
    const { instances, secrets, tokens, callers, sync, reporter, calls, contact, collector, images, meter, forwarder, dataPort } = running;
    contact.stop();
    await sync.stop();
    await Promise.all([calls.stop(), collector.stop(), images.stop(), meter.stop(), forwarder?.stop(), dataPort?.stop(), callers?.stop()]);
    if (stopInstances) await instances.stopAll(options.stopTimeoutMs ?? STOP_TIMEOUT_MS);
    await instances.detach();
    await secrets.close();
    const states = instances.all().map((supervisor) => supervisor.state());
    await tokens.stop(new Set(states.filter(mayRun).map(({ id }) => id)));
    await reporter.stop(LAST_REPORT_MS);
  };

  return {
    start: async () => {
      running ??= await start();
    },
    stop: ({ stopInstances }) => {
      stopping ??= stop(stopInstances);
      return stopping;
    },
    renewIdentity: () => {
      running?.dataPort?.renew();
      running?.tokens.renew();
    },
    statuses: () => running?.instances.all().map((supervisor) => statusOf(supervisor.state(), clock.now())) ?? [],
  };
}

async function nodeFacts(
  options: AgentOptions,
  drivers: ReadonlyMap<string, Driver>,
  volumesFolder: string,
): Promise<Parameters<typeof startReporter>[0]['node']> {
  const { bsize, blocks } = await statfs(volumesFolder);
  return {
    drivers: [...drivers.values()].map(({ info }) => info).filter(({ name }) => options.offered?.includes(name) ?? true),
    capacity: { cpu: availableParallelism(), memoryBytes: totalmem(), volumeBytes: bsize * blocks },
    platform: { os: process.platform, arch: process.arch, program: options.program },
    bootId: bootId(),
  };
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return 'unknown';
  }
}

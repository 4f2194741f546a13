// librad as a whole: control and agent in this process, the data plane and the Instances under the keeper. The order of starting and
// stopping is the order of dependence, and whatever was started is stopped again when a later step fails.

import { readFile, writeFile, chmod, copyFile, mkdir, rename, stat } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { createAgent } from '../agent/agent.ts';
import { createHttpLink } from '../agent/http-link.ts';
import { createClient } from '../api/client.ts';
import { table } from '../api/table.ts';
import { openFileBlobs } from '../blob/files.ts';
import type { LocalAddresses } from '../cli/local-platform.ts';
import type { Settings } from '../config.ts';
import { Failure } from '../lib/failure.ts';
import { createControl } from '../control/control.ts';
import type { AcmeSettings } from '../control/context.ts';
import { BUILTIN_DRIVERS } from '../driver/builtin.ts';
import { prepareNode } from '../driver/process/folders.ts';
import { systemClock } from '../lib/clock.ts';
import { systemRandom } from '../lib/id.ts';
import { createTrusted } from '../proxy/client-address.ts';
import { acquireDataLock } from '../store/lock.ts';
import { checkDataFormat } from '../store/data-format.ts';
import { holdStore } from '../store/hold.ts';
import { openForwardTargets } from './forward-targets.ts';
import { openStore } from './open-store.ts';
import { connectKeeper, ensureKeeper, keeperSocketPath } from '../sys/keeper-client.ts';
import { openFileLog } from '../sys/logger.ts';
import { settleMemory } from '../sys/settle.ts';
import { removeAddresses, writeAddresses } from './addresses.ts';
import { createDataPlaneProcess } from './data-plane-process.ts';
import { edgeMetrics, edgesServe } from './edge-metrics.ts';
import { dataPaths, makeDataFolders } from './paths.ts';
import { programArgv, programEnv, programVersion, settleFileModes, staticServerFile } from './program.ts';

/** So long the start waits for the Edge. */
const EDGE_START_MS = 5_000;

export interface LibradOptions {
  readonly settings: Settings;
  /** The keeper's key of this process, where it runs in the background: the keeper starts it again unless its end was asked for. */
  readonly keeperKey: string | null;
  /** Ends the platform, Instances included. */
  readonly signal: AbortSignal;
  readonly onReady: (addresses: LocalAddresses) => void;
  readonly onProgress: (message: string) => void;
}

/** A host name as a label for a Node. */
function nodeLabel(name: string): string {
  const label = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/gu, '-')
    .replaceAll(/^-+|-+$/gu, '')
    .slice(0, 30)
    .replaceAll(/-+$/gu, '');
  return label === '' ? 'node' : label;
}

async function readTextIfThere(path: string): Promise<string | null> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return null;
  }
}

/** As root the users of Apps must be able to read the static server, which may lie in a private home: they get a copy. */
async function publicCopy(from: string, folder: string, name: string): Promise<string> {
  const target = join(folder, name);
  const [source, existing] = await Promise.all([stat(from), stat(target).catch(() => null)]);
  if (existing === null || existing.size !== source.size || existing.mtimeMs < source.mtimeMs) {
    await mkdir(folder, { recursive: true, mode: 0o755 });
    await copyFile(from, `${target}.new`);
    await chmod(`${target}.new`, 0o755);
    await rename(`${target}.new`, target);
  }
  return target;
}

/**
 * Runs the platform until the signal aborts or a shutdown is asked for. Rejects when it cannot start or loses its store; in the
 * foreground nothing of it is left then, but for Instances that a lost store has no say about.
 */
export async function runLibrad(options: LibradOptions): Promise<void> {
  const { settings } = options;
  settleFileModes();
  const clock = systemClock;
  const random = systemRandom;
  const paths = dataPaths(settings.data);
  const startedAtMs = clock.now();
  const undo: (() => Promise<void> | void)[] = [];
  let keepInstances = false;
  let isAsked = false;
  const shutdown = Promise.withResolvers<void>();
  // Who waits for it may not have come so far.
  shutdown.promise.catch(() => undefined);
  const end = (): void => {
    isAsked = true;
    shutdown.resolve();
  };
  if (options.signal.aborted) return;
  options.signal.addEventListener('abort', end, { once: true });
  /** Nobody asked for the end, and the keeper starts it anew: what serves meanwhile is left alone. */
  const comesBack = (): boolean => options.keeperKey !== null && !isAsked;

  try {
    options.onProgress('Preparing the data folder');
    await makeDataFolders(paths, settings.isRoot);
    const lock = await acquireDataLock(paths.data, { who: { pid: process.pid, startedAtMs, apiUrl: null } });
    undo.push(() => lock.release());
    // Last but for the lock: whoever waits for the end of this platform waits for this file to go.
    undo.push(() => removeAddresses(paths));
    await checkDataFormat(paths.data, programVersion);
    const fileLog = openFileLog({ path: join(paths.logs, 'librad.log'), level: settings.logLevel ?? 'info', name: 'librad' });
    undo.push(() => fileLog.close());
    const { log } = fileLog;
    log.info({ version: programVersion, data: paths.data }, 'librad starts');

    // A target that is none is refused here, before anything is started.
    const forward = await openForwardTargets(settings);

    options.onProgress('Starting the keeper');
    const keeperArgv = programArgv('keeper', keeperSocketPath(paths.run));
    const revive = (): Promise<unknown> =>
      ensureKeeper({ runFolder: paths.run, argv: keeperArgv, env: programEnv(settings.path, settings.home) });
    await revive();
    const keeper = await connectKeeper({
      socketPath: keeperSocketPath(paths.run),
      program: `librad ${programVersion}`,
      revive,
      clock,
      log,
    });
    undo.push(async () => {
      if (!comesBack()) {
        if (options.keeperKey !== null) await keeper.request({ op: 'retire', key: options.keeperKey }).catch(() => undefined);
        // The keeper goes when nothing runs under it any more; Instances that were left running keep it.
        await keeper.request({ op: 'shutdown', force: false }).catch(() => undefined);
      }
      await keeper.close();
    });

    options.onProgress('Opening the store');
    const { store, engine, isShared } = await openStore(settings, { file: paths.store, clock });
    undo.push(() => store.close());
    if (isShared) {
      const onLost = (): void => {
        log.error({}, 'another control plane may have the store by now: stopping');
        keepInstances = true;
        shutdown.reject(
          new Failure('unavailable', {
            message: 'The store could not be reached for so long that another control plane may have it by now.',
            hint: 'Instances and what was deployed are untouched. Start it again when the cluster answers.',
          }),
        );
      };
      undo.push(await holdStore({ store, clock, holder: `${hostname()}:${paths.data}`, onLost }));
    }
    const blobs = await openFileBlobs({ folder: paths.blobs, maxBytes: settings.bundleBytes ?? 1024 ** 3, clock });
    undo.push(() => blobs.close());

    options.onProgress('Starting the Edge');
    // A range that is none is refused here, not by workers that would never come up.
    createTrusted([...(settings.edgeTrusted ?? []), ...(settings.edgeProxied ?? [])]);
    const edgeHost = settings.edgeHost ?? '127.0.0.1';
    const dataPlane = createDataPlaneProcess({
      keeper,
      paths,
      clock,
      log,
      host: edgeHost,
      port: settings.edgePort ?? 8080,
      tlsPort: settings.edgeTlsPort ?? 8443,
      path: settings.path,
      home: settings.home,
      workers: settings.edgeWorkers ?? 1,
      trusted: settings.edgeTrusted ?? [],
      proxied: settings.edgeProxied ?? [],
      h2c: settings.edgeH2c === 'on',
    });
    const edgeSockets = Array.from({ length: settings.edgeWorkers ?? 1 }, (_, worker) => paths.edgeSocket(worker));
    const { http: edgePort, https: edgeTlsPort } = await dataPlane.hold();
    undo.push(() => (comesBack() ? undefined : dataPlane.stop()));

    options.onProgress('Starting control');
    const nodeName = settings.nodeName ?? nodeLabel(hostname());
    const control = createControl({
      store,
      storeEngine: engine,
      blobs,
      clock,
      random,
      log,
      masterKeyFile: paths.masterKey,
      settings: {
        version: programVersion,
        domain: settings.domain ?? 'localhost',
        publicScheme: 'http',
        publicPort: edgePort,
        publicHttpsPort: edgeTlsPort,
        apiThroughEdge: settings.edgeApi !== 'off',
        acme: acmeSettings(settings),
        bundleBytes: settings.bundleBytes ?? 1024 ** 3,
        nodeGraceMs: 30_000,
        retainEndedMs: settings.retainEndedMs ?? 86_400_000,
        retainReleases: 10,
      },
      nodeName,
      ownerSecret: await readTextIfThere(paths.ownerToken),
      furtherMetrics: () => edgeMetrics(edgeSockets),
      addresses: () => ({ edge: `${edgeHost}:${edgePort}`, edgeTls: `${edgeHost}:${edgeTlsPort}` }),
      onShutdown: (request) => {
        keepInstances = request.keepInstances;
        end();
      },
    });
    const started = await control.start({ host: settings.apiHost ?? '127.0.0.1', port: settings.apiPort ?? 7400 });
    undo.push(() => control.stop());
    undo.push(dataPlane.onEnded((edgeId) => started.edgeEnded(edgeId)));
    await writeFile(`${paths.ownerToken}.new`, `${started.ownerToken}\n`, { mode: 0o600 });
    await rename(`${paths.ownerToken}.new`, paths.ownerToken);
    lock.describe({ pid: process.pid, startedAtMs, apiUrl: started.url });

    options.onProgress('Starting the agent');
    const nodeFolder = prepareNode(paths.node, process.execPath, settings.isRoot);
    const staticServer = settings.isRoot ? await publicCopy(staticServerFile, nodeFolder, basename(staticServerFile)) : staticServerFile;
    const driver = await BUILTIN_DRIVERS.process({ keeper, dataFolder: paths.node, clock, log });
    undo.push(() => driver.close());
    const token = started.nodeToken;
    const link = createHttpLink({ client: createClient(table, { url: started.url, token }), url: started.url, token: () => token });
    const agent = createAgent({
      link,
      drivers: { process: driver },
      dataFolder: paths.node,
      clock,
      random,
      log,
      nodeName,
      ...(forward === undefined ? {} : { forward }),
      program: programVersion,
      builtinPrograms: { static: [join(nodeFolder, 'node'), '--disable-warning=ExperimentalWarning', staticServer] },
      searchPath: `${nodeFolder}:${settings.path}`,
    });
    await agent.start();
    undo.push(() => agent.stop({ stopInstances: !keepInstances && !comesBack() }));

    await dataPlane.serve({ url: started.url, token: started.edgeToken });
    // Whoever is told that the platform is up may ask at once.
    if (!(await edgesServe(edgeSockets, clock, EDGE_START_MS)))
      log.warn({}, 'the Edge does not serve yet; going on without waiting for it');
    const addresses: LocalAddresses = {
      api: started.url,
      apps: `http://<app>.${settings.domain ?? 'localhost'}${edgePort === 80 ? '' : `:${edgePort}`}`,
      pid: process.pid,
      version: programVersion,
    };
    writeAddresses(paths, addresses);
    flushCompileCache();
    undo.push(settleMemory(clock));
    log.info({ ...addresses, tookMs: clock.now() - startedAtMs }, 'librad serves');
    options.onReady(addresses);
    await shutdown.promise;
    log.info({ keepInstances }, 'librad stops');
  } finally {
    for (const step of undo.reverse()) {
      try {
        await step();
      } catch (error) {
        // One part that cannot stop must not keep the others from it.
        process.stderr.write(`libra: while stopping: ${error instanceof Error ? error.message : String(error)}\n`);
      }
    }
  }
}

function acmeSettings({ acme, acmeEmail, acmeDnsHook, acmeResolvers, path, home }: Settings): AcmeSettings | null {
  if (acme === null || acme === 'off') {
    const given = { '--acme-email': acmeEmail, '--acme-dns-hook': acmeDnsHook, '--acme-resolvers': acmeResolvers };
    const [idle = null] = Object.entries(given).flatMap(([name, value]) => (value === null ? [] : [name]));
    if (idle === null) return null;
    throw new Failure('invalid_input', {
      message: `${idle} means nothing without an authority.`,
      hint: 'Add --acme letsencrypt, or leave it out.',
    });
  }
  // What it needs beyond that it reads from a file of its own.
  const dnsHook = acmeDnsHook === null ? null : { argv: acmeDnsHook, env: { PATH: path, HOME: home } };
  return { directory: acme, email: acmeEmail, dnsHook, resolvers: acmeResolvers ?? [] };
}

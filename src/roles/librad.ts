// librad as a whole: what every machine needs, and then what this one is, a control plane with everything or a member of a platform. The
// order of starting and stopping is the order of dependence, and whatever was started is stopped again when a later step fails.

import { flushCompileCache } from 'node:module';
import { join } from 'node:path';
import type { LocalAddresses } from '../cli/local-platform.ts';
import type { Settings } from '../config.ts';
import { systemClock } from '../lib/clock.ts';
import { systemRandom } from '../lib/id.ts';
import { checkDataFormat } from '../store/data-format.ts';
import { acquireDataLock } from '../store/lock.ts';
import { connectKeeper, ensureKeeper, keeperSocketPath } from '../sys/keeper-client.ts';
import { openFileLog } from '../sys/logger.ts';
import { settleMemory } from '../sys/settle.ts';
import { removeAddresses, writeAddresses } from './addresses.ts';
import { openForwardTargets } from './forward-targets.ts';
import type { Librad } from './librad-parts.ts';
import { readMembership } from './membership.ts';
import { dataPaths, makeDataFolders } from './paths.ts';
import { programArgv, programEnv, programVersion, settleFileModes } from './program.ts';

export interface LibradOptions {
  readonly settings: Settings;
  /** The keeper's key of this process, where it runs in the background: the keeper starts it again unless its end was asked for. */
  readonly keeperKey: string | null;
  /** Ends the platform, Instances included. */
  readonly signal: AbortSignal;
  readonly onReady: (addresses: LocalAddresses) => void;
  readonly onProgress: (message: string) => void;
}

/**
 * Runs until the signal aborts or a shutdown is asked for. Rejects when it cannot start or is no member any more; in the foreground nothing
 * of it is left then, but for Instances.
 */
export async function runLibrad(options: LibradOptions): Promise<void> {
  const { settings } = options;
  settleFileModes();
  const clock = systemClock;
  const paths = dataPaths(settings.data);
  const startedAtMs = clock.now();
  const undo: Librad['undo'] = [];
  let keepInstances = false;
  let isAsked = false;
  const shutdown = Promise.withResolvers<void>();
  const end = (): void => {
    isAsked = true;
    shutdown.resolve();
  };
  if (options.signal.aborted) return;
  options.signal.addEventListener('abort', end, { once: true });
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

    const librad: Librad = {
      settings,
      paths,
      clock,
      random: systemRandom,
      log,
      keeper,
      lock,
      forward,
      undo,
      startedAtMs,
      onProgress: options.onProgress,
      comesBack,
      keepsInstances: () => keepInstances,
      end: (asked) => {
        keepInstances = asked.keepInstances;
        end();
      },
    };
    const membership = readMembership(paths);
    const where =
      membership === null
        ? await (await import('./control-plane.ts')).startControlPlane(librad)
        : await (await import('./member.ts')).startMember(librad, membership);
    const addresses: LocalAddresses = { ...where, pid: process.pid, version: programVersion };
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

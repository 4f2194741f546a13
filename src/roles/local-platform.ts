// What the command line may do on this machine without the API: start the platform, find it, look at it.

import { readFile, access, constants, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Finding, LocalAddresses, LocalPlatform, UpFlags } from '../cli/local-platform.ts';
import type { OptionSpec } from '../cli/option-spec.ts';
import { loadSettings, SETTINGS, variableText } from '../config.ts';
import type { SettingName, Settings, Surroundings } from '../config.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure, isFailure, messageOf } from '../lib/failure.ts';
import { readAddresses } from './addresses.ts';
import { createLaptop } from './laptop.ts';
import { readKeptVariables } from './kept-settings.ts';
import { dataPaths, makeDataFolders } from './paths.ts';
import { LIBRAD_KEY, programArgv, programEnv, programRoot, programVersion } from './program.ts';

const START_MS = 30_000;
const POLL_MS = 50;

const upOptions: readonly OptionSpec[] = Object.values(SETTINGS).flatMap((setting) =>
  setting.flag === null
    ? []
    : [{ name: setting.flag, value: setting.placeholder, help: `${setting.help}; default ${setting.defaultText} (${setting.variable})` }],
);

/** What has no flag, or must not show on a command line, travels as a variable. */
const isVariable = (setting: (typeof SETTINGS)[keyof typeof SETTINGS]): boolean => setting.flag === null || 'isPrivate' in setting;

/** The flags that make another process of this program see the same settings. */
function flagWords(settings: Settings): readonly string[] {
  const words: string[] = [];
  for (const [name, setting] of Object.entries(SETTINGS)) {
    if (isVariable(setting)) continue;
    const value = settings[name as keyof typeof SETTINGS /* Object.entries gives the names of the table */];
    if (value !== null) words.push(`--${setting.flag}`, String(value));
  }
  return words;
}

async function lastLogLines(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trim().split('\n').slice(-3).join('\n');
}

export function createLocalPlatform(around: Surroundings): LocalPlatform {
  // What the machine keeps is read by who needs it: another platform is talked to from here whatever state this one is in.
  const paths = dataPaths(loadSettings({}, around).data);

  const startInBackground = async (flags: UpFlags, onProgress: (message: string) => void): Promise<LocalAddresses> => {
    const settings = settingsOf(flags, around);
    const target = dataPaths(settings.data);
    await makeDataFolders(target, settings.isRoot);
    onProgress('Starting the keeper');
    const { connectKeeper, ensureKeeper, keeperSocketPath } = await import('../sys/keeper-client.ts');
    const socketPath = keeperSocketPath(target.run);
    await ensureKeeper({ runFolder: target.run, argv: programArgv('keeper', socketPath), env: programEnv(settings.path, settings.home) });
    const keeper = await connectKeeper({ socketPath, program: `libra ${programVersion}` });
    const { mkdir } = await import('node:fs/promises');
    const recordFolder = join(target.run, 'librad');
    await mkdir(recordFolder, { recursive: true, mode: 0o700 });
    try {
      const key = LIBRAD_KEY;
      const known = await keeper.request({ op: 'get', key });
      if (known !== null && known.state !== 'running') {
        // The keeper may be about to start it again, with the settings of then.
        await keeper.request({ op: 'retire', key });
        await keeper.request({ op: 'forget', key }).catch((error: unknown) => {
          // It came up in this very moment.
          if (!isFailure(error, 'conflict')) throw error;
        });
      }
      onProgress('Starting librad');
      const spawned = await keeper.request({
        op: 'spawn',
        key,
        argv: programArgv('librad', ...flagWords(settings)),
        env: { ...programEnv(settings.path, settings.home), ...settingVariables(settings) },
        cwd: '/',
        user: null,
        cgroups: [],
        log: { folder: join(target.logs, 'librad-output'), bytes: 1024 * 1024 },
        recordFolder,
        listeners: [],
        restart: { minMs: 100, maxMs: 30_000 },
      });
      const until = systemClock.monotonic() + START_MS;
      for (;;) {
        const addresses = await readAddresses(target);
        if (addresses !== null) return addresses;
        const record = await keeper.request({ op: 'get', key });
        const failed = record?.state === 'failed' || (record?.restarts ?? 0) - spawned.restarts >= 2;
        if (failed || systemClock.monotonic() > until) {
          await keeper.request({ op: 'retire', key });
          await keeper.request({ op: 'signal', key, signal: 'SIGTERM', group: false });
          while ((await keeper.request({ op: 'get', key }))?.state === 'running' && systemClock.monotonic() < until + START_MS)
            await systemClock.sleep(POLL_MS);
          await keeper.request({ op: 'shutdown', force: false });
          const { readTail } = await import('./output-tail.ts');
          const said = await readTail(join(target.logs, 'librad-output'));
          throw new Failure('start_failed', {
            message: `librad did not come up in the background. ${said || (await lastLogLines(join(target.logs, 'librad.log')))}`.trim(),
            hint: `'libra up' without --detach shows more; the log is ${join(target.logs, 'librad.log')}.`,
          });
        }
        await systemClock.sleep(POLL_MS);
      }
    } finally {
      await keeper.close();
    }
  };

  return {
    version: programVersion,
    laptop: createLaptop(around),
    upOptions,
    exampleFolder: join(programRoot, 'examples/hello'),
    migrateStore: async ({ from, to }, { onProgress }) => {
      const { migrateLocalStore } = await import('./migrate-store.ts');
      return await migrateLocalStore({ local: settingsOf({}, around), paths, from, to, onProgress });
    },
    run: async (flags, options) => {
      const { runLibrad } = await import('./librad.ts');
      await runLibrad({ keeperKey: null, settings: settingsOf(flags, around), ...options });
    },
    startInBackground: (flags, options) => startInBackground(flags, options.onProgress),
    join: async ({ url, token, flags }) => {
      const settings = settingsOf(flags, around);
      const target = dataPaths(settings.data);
      await makeDataFolders(target, settings.isRoot);
      const [{ joinPlatform }, { hostname }] = await Promise.all([import('./join-platform.ts'), import('node:os')]);
      const isRunning = (await readAddresses(target)) !== null;
      const joined = await joinPlatform({
        url,
        token,
        hostname: settings.nodeName ?? hostname(),
        apiTlsHost: settings.apiTlsHost,
        paths: target,
        clock: systemClock,
        isRunning,
      });
      if (joined.kind === 'control') return { already: joined.already, membership: { name: null, roles: ['control'], url: joined.url } };
      const { name, roles, urls } = joined.membership;
      return { already: joined.already, membership: { name, roles, url: urls[0] } };
    },
    stopMember: async () => {
      const running = await readAddresses(paths);
      if (running?.node !== undefined) process.kill(running.pid, 'SIGTERM');
    },
    running: () => readAddresses(paths),
    hasLeftovers: async () => {
      const { connectKeeper, keeperSocketPath } = await import('../sys/keeper-client.ts');
      try {
        const keeper = await connectKeeper({ socketPath: keeperSocketPath(paths.run), program: `libra ${programVersion}` });
        try {
          const { processes } = await keeper.request({ op: 'list' });
          // librad itself may be between two starts.
          return processes.some(({ key, state }) => state === 'running' || key === LIBRAD_KEY);
        } finally {
          await keeper.close();
        }
      } catch (error) {
        if (isFailure(error)) return false;
        throw error;
      }
    },
    ownerToken: async () => {
      try {
        return (await readFile(paths.ownerToken, 'utf8')).trim();
      } catch {
        return null;
      }
    },
    waitUntilDown: async (deadlineMs) => {
      const until = systemClock.monotonic() + deadlineMs;
      while (systemClock.monotonic() < until) {
        if ((await readAddresses(paths)) === null) return true;
        await systemClock.sleep(POLL_MS);
      }
      return false;
    },
    examine: async () => examine(settingsOf({}, around)),
  };
}

/** What this machine was given when it became a control plane counts where nothing else is said. */
function settingsOf(flags: UpFlags, around: Surroundings): Settings {
  const settings = loadSettings(flags, around);
  const kept = readKeptVariables(dataPaths(settings.data));
  return kept === null ? settings : loadSettings(flags, { ...around, env: { ...kept, ...around.env } });
}

/** The other settings, as variables. */
function settingVariables(settings: Settings): Readonly<Record<string, string>> {
  const variables: Record<string, string> = {};
  for (const [name, setting] of Object.entries(SETTINGS)) {
    if (!isVariable(setting) || name === 'url' || name === 'token') continue;
    const text = variableText(settings, name as SettingName); // Object.entries gives the names of the table
    if (text !== null) variables[setting.variable] = text;
  }
  return variables;
}

async function examine(settings: Settings): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const major = Number(process.versions.node.split('.')[0]);
  findings.push({ name: 'node', ok: major >= 24, message: `version ${process.versions.node}`, hint: 'Libra needs Node 24 or newer.' });
  const writable = await access(settings.data, constants.W_OK).then(
    () => true,
    () => false,
  );
  const exists = await access(settings.data).then(
    () => true,
    () => false,
  );
  findings.push({
    name: 'data folder',
    ok: writable || !exists,
    message: exists ? `${settings.data}${writable ? '' : ' cannot be written'}` : `${settings.data} (not made yet)`,
    hint: 'Choose another with LIBRA_DATA.',
  });
  if (exists) {
    const disk = await statfs(settings.data);
    const freeBytes = disk.bavail * disk.bsize;
    findings.push({
      name: 'disk',
      ok: freeBytes > 1024 ** 3,
      message: `${(freeBytes / 1024 ** 3).toFixed(1)} GiB free`,
      hint: 'Bundles, volumes and logs need room: 1 GiB at least.',
    });
  }
  findings.push(await examineLimits());
  findings.push(
    settings.isRoot
      ? { name: 'users', ok: true, message: 'every App runs as a user of its own', hint: null }
      : {
          name: 'users',
          ok: false,
          message: 'Apps run as your own user: they are trusted with everything that you may do',
          hint: 'Start Libra as root to give every App a user of its own (SECURITY.md).',
        },
  );
  findings.push(await resolves('hello.localhost'));
  return findings;
}

async function examineLimits(): Promise<Finding> {
  const { detectCgroups } = await import('../sys/cgroup.ts');
  const { enforcement } = detectCgroups('libra-doctor');
  const missing = Object.entries(enforcement).filter(([, state]) => state !== 'enforced');
  return {
    name: 'limits',
    ok: missing.length === 0,
    message:
      missing.length === 0
        ? 'CPU and memory limits of Instances are enforced'
        : missing.map(([limit, why]) => `${limit} limits are not enforced: ${why}`).join('; '),
    hint: 'Limits need cgroups that Libra may write: run as root, or in a delegated systemd slice.',
  };
}

async function resolves(name: string): Promise<Finding> {
  const { lookup } = await import('node:dns/promises');
  try {
    await lookup(name);
    return { name: 'names', ok: true, message: `${name} resolves for every program`, hint: null };
  } catch (error) {
    return {
      name: 'names',
      ok: false,
      message: `*.localhost resolves in curl and browsers, but not for every program here (${messageOf(error)})`,
      hint: 'Install libnss-myhostname, or add the names that your programs need to /etc/hosts.',
    };
  }
}

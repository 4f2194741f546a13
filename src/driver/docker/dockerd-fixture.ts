// A Docker engine of its own for a test, in folders that are removed, with an image made from busybox: no registry is needed. One at a time
// on a machine, and never beside another Docker, because engines share the packet filter.

import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { systemClock } from '../../lib/clock.ts';
import { lockFile } from '../../sys/file-lock.ts';
import { listPids, readProcessStat } from '../../sys/process-identity.ts';
import { createEngine } from './engine.ts';
import type { Engine } from './engine.ts';
import { createEngineHttp } from './engine-http.ts';
import { textOf } from './fields.ts';
import { readMessages } from './messages.ts';
import { encodeHeader } from './pull.ts';

const START_MS = 60_000;
const STOP_MS = 30_000;
/** Longest that other suites keep the turn. */
const TURN_MS = 280_000;
const BUSYBOX = '/bin/busybox';
const APPLETS = [
  'sh',
  'cat',
  'dd',
  'echo',
  'env',
  'grep',
  'head',
  'httpd',
  'id',
  'ls',
  'mkdir',
  'ln',
  'nc',
  'rm',
  'rmdir',
  'seq',
  'sleep',
  'stat',
  'touch',
  'wget',
  'yes',
];

/** Leaving its scope stops it. */
export interface TestDocker extends AsyncDisposable {
  /** `unix://…` of it. */
  readonly url: string;
  readonly socketPath: string;
  readonly folder: string;
  readonly engine: Engine;
  /** Makes an image of busybox, with files of the test's own on top, and instructions of a Dockerfile such as `USER web`. */
  image(name: string, files?: (root: string) => void, changes?: readonly string[]): Promise<string>;
  /** Pushes an image under another name, and forgets that name. Answers the reference by digest. */
  push(image: string, repository: string, login: object): Promise<string>;
  /** Deletes an image. */
  forget(reference: string): Promise<void>;
  signal(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  start(): Promise<void>;
  /** Ends it with everything that it ran. */
  stop(): Promise<void>;
}

export async function startTestDocker(options: { readonly words?: readonly string[] } = {}): Promise<TestDocker> {
  const lock = await lockFile(join(tmpdir(), 'libra-test-dockerd.lock'), { clock: systemClock, deadlineMs: TURN_MS });
  const other = listPids().find((pid) => readProcessStat(pid)?.name === 'dockerd');
  if (other !== undefined) {
    lock.release();
    throw new Error(`Another dockerd runs here (process ${other}); a second one would disturb its packet filter. Stop it for this test.`);
  }
  const folder = mkdtempSync(join(tmpdir(), 'libra-dockerd-'));
  const socketPath = join(folder, 'docker.sock');
  const engine = createEngine({ kind: 'unix', path: socketPath });
  const http = createEngineHttp({ kind: 'unix', path: socketPath });
  let child: ChildProcess | null = null;

  const start = async (): Promise<void> => {
    const at = (name: string): string => join(folder, name);
    const output = openSync(at('dockerd.log'), 'a');
    // Of a killed one: its containerd died with it, and whoever never buries its children would make the next one wait for that.
    rmSync(at('exec/containerd/containerd.pid'), { force: true });
    const words = ['--data-root', at('data'), '--exec-root', at('exec'), '-H', `unix://${socketPath}`, '--pidfile', at('dockerd.pid')];
    const started = spawn('dockerd', [...words, '--bridge', 'none', ...(options.words ?? [])], { stdio: ['ignore', output, output] });
    child = started;
    closeSync(output);
    for (const untilMs = systemClock.monotonic() + START_MS; ; await systemClock.sleep(50)) {
      try {
        await engine.facts();
        return;
      } catch (error) {
        if (started.exitCode === null && systemClock.monotonic() < untilMs) continue;
        throw new Error(`dockerd does not start: ${readFileSync(at('dockerd.log'), 'utf8').slice(-2000)}`, { cause: error });
      }
    }
  };

  const signal = async (name: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(name);
    await gone;
  };

  /** What a killed dockerd leaves: its containerd, which then leaves its shims. */
  const endRest = async (): Promise<void> => {
    for (const untilMs = systemClock.monotonic() + STOP_MS; ; await systemClock.sleep(50)) {
      const left = listPids().filter((pid) => commandLine(pid).includes(folder));
      if (left.length === 0) return;
      if (systemClock.monotonic() > untilMs) throw new Error(`Processes of the test's dockerd do not end: ${left.join(', ')}`);
      for (const pid of left) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended meanwhile.
        }
      }
    }
  };

  const stop = async (): Promise<void> => {
    try {
      if (child?.exitCode !== null || child.signalCode !== null) await start();
      for (const { id } of await engine.listContainers([])) await engine.removeContainer(id);
      for (const { name } of await engine.networks()) if (name.startsWith('libra-')) await engine.removeNetwork(name);
      engine.close();
      http.close();
      await signal('SIGTERM');
    } finally {
      await endRest();
      for (const mount of mountsBelow(folder)) spawnSync('umount', ['--lazy', mount]);
      rmSync(folder, { recursive: true, force: true });
      lock.release();
    }
  };

  try {
    await start();
  } catch (error) {
    await endRest();
    lock.release();
    throw error;
  }
  return {
    url: `unix://${socketPath}`,
    socketPath,
    folder,
    engine,
    start,
    signal,
    image: async (name, files = () => undefined, changes = []) => {
      const root = mkdtempSync(join(folder, 'image-'));
      for (const path of ['bin', 'etc', 'tmp']) mkdirSync(join(root, path));
      cpSync(BUSYBOX, join(root, 'bin/busybox'));
      for (const applet of APPLETS) symlinkSync('busybox', join(root, 'bin', applet));
      files(root);
      const tar = spawn('tar', ['-C', root, '-c', '.'], { stdio: ['ignore', 'pipe', 'ignore'] });
      const words = [['fromSrc', '-'], ['repo', name], ['tag', 'latest'], ...changes.map((change) => ['changes', change])];
      const path = `/images/create?${new URLSearchParams(words).toString()}`;
      for await (const _progress of await http.stream('POST', path, { upload: { stream: tar.stdout, type: 'application/x-tar' } }));
      rmSync(root, { recursive: true });
      return `${name}:latest`;
    },
    push: async (image, repository, login) => {
      await http.call('POST', `/images/${image}/tag`, { query: { repo: repository, tag: 'pushed' } });
      const headers = { 'x-registry-auth': encodeHeader(login) };
      let digest = '';
      for await (const message of readMessages(
        await http.stream('POST', `/images/${repository}/push`, { query: { tag: 'pushed' }, headers }),
      )) {
        const error = textOf(message, 'error');
        if (error !== null) throw new Error(error);
        digest = textOf(message, 'aux', 'Digest') ?? digest;
      }
      await http.call('DELETE', `/images/${repository}:pushed`);
      return `${repository}@${digest}`;
    },
    forget: async (reference) => {
      await http.call('DELETE', `/images/${reference}`, { query: { force: 'true' } });
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

function mountsBelow(folder: string): readonly string[] {
  const places = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[1] ?? []);
  return places.filter((place) => place.startsWith(`${folder}/`)).toReversed();
}

/** Puts the node of this process into the root of an image, with the libraries that it is linked with. */
export function copyNode(root: string): void {
  cpSync(process.execPath, join(root, 'bin/node'));
  const { stdout } = spawnSync('ldd', [process.execPath], { encoding: 'utf8' });
  for (const [path] of stdout.matchAll(/\/\S+/gu)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    copyFileSync(path, join(root, path));
  }
}

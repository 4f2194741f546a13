// The real platform for tests: the same processes, sockets and files as in production, on free ports and in a folder of its own. What a
// test starts ends with it, whatever happens, and a leftover process is a failure of the test.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from '../src/api/client.ts';
import { table } from '../src/api/table.ts';
import type { ApiClient } from '../src/cli/api-client.ts';
import { processesNaming } from './fixtures/processes.ts';
import type { FoundProcess } from './fixtures/processes.ts';

export const root: string = dirname(dirname(fileURLToPath(import.meta.url)));
const START_MS = 30_000;

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface HttpReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Addresses {
  readonly api: string;
  readonly apps: string;
  readonly pid: number;
}

/** Asks until the condition holds; fails with its last word when it does not within the deadline. */
export async function until<T>(
  what: string,
  deadlineMs: number,
  check: () => Promise<T | null | undefined | false> | T | null | undefined | false,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  let lastError: unknown = null;
  for (;;) {
    try {
      const value = await check();
      if (value !== null && value !== undefined && value !== false) return value;
      lastError = null;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`, { cause: lastError });
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export interface PlatformOptions {
  /** Variables besides LIBRA_DATA and the ports. */
  readonly env?: Readonly<Record<string, string>>;
  /** An existing data folder; it is not removed. */
  readonly data?: string;
  /** Words in front of every command line, such as those that enter a network namespace. */
  readonly enter?: readonly string[];
  /** The launcher; default the one of this checkout. */
  readonly program?: string;
}

export class Platform {
  readonly data: string;
  readonly #ownsData: boolean;
  readonly #env: Record<string, string>;
  readonly #argv: readonly [string, ...string[]];
  #child: ChildProcess | null = null;
  #output = '';
  #addresses: Addresses | null = null;

  constructor(options: PlatformOptions = {}) {
    this.data = options.data ?? mkdtempSync(join(tmpdir(), 'libra-test-'));
    this.#ownsData = options.data === undefined;
    const [first, ...others] = [...(options.enter ?? []), options.program ?? join(root, 'bin/libra')];
    this.#argv = [first ?? '', ...others];
    this.#env = {
      PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
      HOME: this.data,
      LIBRA_DATA: this.data,
      LIBRA_API_PORT: '0',
      LIBRA_EDGE_PORT: '0',
      LIBRA_EDGE_TLS_PORT: '0',
      LIBRA_APIPROXY_PORT: '0',
      LIBRA_DATA_PORT: '0',
      LIBRA_NODE_NAME: 'test-node',
      // What a test wants of it, it starts itself.
      LIBRA_DOCKER: 'off',
      NO_COLOR: '1',
      ...options.env,
    };
  }

  /** Environment of the command line of this platform. */
  get env(): Readonly<Record<string, string>> {
    return this.#env;
  }

  get output(): string {
    return this.#output;
  }

  get addresses(): Addresses {
    assert.ok(this.#addresses, 'the platform is up');
    return this.#addresses;
  }

  get edgePort(): number {
    return Number(/:(\d+)/u.exec(this.addresses.apps)?.[1]);
  }

  /** `libra up` in the foreground; resolves when it serves. Keeps the ports of an earlier start. */
  async start(): Promise<Addresses> {
    if (this.#addresses !== null) {
      this.#env['LIBRA_API_PORT'] = new URL(this.#addresses.api).port;
      this.#env['LIBRA_EDGE_PORT'] = String(this.edgePort);
    }
    const [program, ...words] = this.#argv;
    const child = spawn(program, [...words, 'up', '--json'], { env: this.#env, cwd: this.data, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#output = '';
    const ready = new Promise<Addresses>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`libra up is not ready after ${START_MS} ms: ${this.#output}`)), START_MS);
      const onText = (chunk: Buffer): void => {
        this.#output = (this.#output + chunk.toString('utf8')).slice(-64 * 1024);
        const line = this.#output.split('\n').find((text) => text.startsWith('{"api"'));
        if (line === undefined) return;
        clearTimeout(timer);
        resolve(JSON.parse(line) as Addresses /* printed by our own command */);
      };
      child.stdout.on('data', onText);
      child.stderr.on('data', onText);
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        reject(new Error(`libra up ended with ${code ?? signal}: ${this.#output}`));
      });
    });
    this.#addresses = await ready;
    return this.#addresses;
  }

  /** Starts it anew with other variables. */
  async startWith(env: Readonly<Record<string, string>>): Promise<Addresses> {
    Object.assign(this.#env, env);
    return this.start();
  }

  /** `libra up --detach`; `libra down` ends it. */
  async startDetached(): Promise<Addresses> {
    const result = await this.cli('up', '--detach', '--json');
    if (result.code !== 0) throw new Error(`libra up --detach: ${result.stderr}`);
    return this.readAddresses();
  }

  /** Where the platform answers now, from its data folder: the keeper may have started librad anew. */
  readAddresses(): Addresses {
    this.#addresses = JSON.parse(readFileSync(join(this.data, 'run/addresses.json'), 'utf8')) as Addresses; /* written by librad */
    return this.#addresses;
  }

  /** The outcome of a `libra up` that is expected to fail. */
  async startFailing(...words: readonly string[]): Promise<CliResult> {
    return await this.cli('up', ...words);
  }

  client(): ApiClient {
    return createClient(table, { url: this.addresses.api, token: this.token() });
  }

  token(): string {
    return readFileSync(join(this.data, 'owner.token'), 'utf8').trim();
  }

  /** Runs one command line to its end. */
  cli(...words: readonly string[]): Promise<CliResult> {
    return this.cliIn(this.data, ...words);
  }

  cliIn(cwd: string, ...words: readonly string[]): Promise<CliResult> {
    return this.cliWith({ cwd }, ...words);
  }

  cliWith(
    options: { readonly cwd?: string; readonly input?: string; readonly env?: Readonly<Record<string, string>> },
    ...words: readonly string[]
  ): Promise<CliResult> {
    return new Promise((resolve, reject) => {
      const [program, ...before] = this.#argv;
      const child = spawn(program, [...before, ...words], {
        env: { ...this.#env, ...options.env },
        cwd: options.cwd ?? this.data,
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')));
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code: code ?? (signal === null ? -1 : 128), stdout, stderr }));
      child.stdin.on('error', () => undefined);
      child.stdin.end(options.input ?? '');
    });
  }

  /** One request through the Edge on a connection of its own. */
  get(
    host: string,
    path = '/',
    options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string } = {},
  ): Promise<HttpReply> {
    return new Promise((resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port: this.edgePort,
          path,
          method: options.method ?? 'GET',
          headers: { host, ...options.headers },
          agent: false,
          timeout: 20_000,
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks).toString('utf8') }),
          );
        },
      );
      call.on('timeout', () => call.destroy(new Error('no answer within 20 s')));
      call.on('error', reject);
      call.end(options.body);
    });
  }

  /** Process id of librad. */
  get pid(): number {
    return this.#child?.pid ?? this.addresses.pid;
  }

  /** kill −9 of librad; resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    const gone = new Promise<void>((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) resolve();
      else child.once('exit', () => resolve());
    });
    process.kill(this.addresses.pid, 'SIGKILL');
    await gone;
    this.#child = null;
  }

  /** Ctrl-C; resolves with the exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const gone = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    process.kill(this.addresses.pid, 'SIGINT');
    const code = await gone;
    this.#child = null;
    return code;
  }

  /** Stops everything, asserts that no process of this platform is left, removes the folder. */
  async dispose(): Promise<void> {
    try {
      if (this.#child !== null) await this.stop();
      await until('every process of the platform has ended', 20_000, () => this.processes().length === 0);
    } finally {
      for (const { pid } of this.processes()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended meanwhile.
        }
      }
      if (this.#ownsData) rmSync(this.data, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    }
  }

  /** Processes whose words or environment name this data folder: keeper, data plane, librad, Instances. */
  processes(): readonly FoundProcess[] {
    return processesNaming(this.data);
  }
}

/** Starts a platform, runs the body, disposes it; the log of librad is printed when the body fails. */
export async function withPlatform(body: (platform: Platform) => Promise<void>, options: PlatformOptions = {}): Promise<void> {
  const platform = new Platform(options);
  try {
    await platform.start();
    await body(platform);
  } catch (error) {
    const log = join(platform.data, 'logs/librad.log');
    try {
      console.error(readFileSync(log, 'utf8').split('\n').slice(-40).join('\n'));
    } catch {
      // Nothing was logged yet.
    }
    throw error;
  } finally {
    await platform.dispose();
  }
}

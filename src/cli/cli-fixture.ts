// What the tests of this folder share: a context whose output is collected, whose answers are given beforehand and whose client is the
// test's own, and a local platform that starts nothing.

import { PassThrough } from 'node:stream';
import { systemClock } from '../lib/clock.ts';
import type { ApiClient } from './api-client.ts';
import type { CommandContext } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';
import { createOutput } from './output.ts';
import { registry } from './registry.ts';

const unused = (): never => {
  throw new Error('the test did not expect this to be used');
};

export const idlePlatform: LocalPlatform = {
  version: '0.0.0',
  laptop: { user: 'ana', from: 'ana@laptop', freePort: unused, forward: unused, connect: unused, start: unused, staticServer: [] },
  upOptions: [{ name: 'data', value: 'folder', help: "where all of Libra's state lives" }],
  exampleFolder: '/nowhere',
  run: unused,
  startInBackground: unused,
  join: unused,
  stopMember: unused,
  running: async () => null,
  hasLeftovers: async () => false,
  ownerToken: async () => null,
  waitUntilDown: unused,
  migrateStore: unused,
  examine: unused,
};

export interface TestContext {
  readonly context: CommandContext;
  readonly interrupt: AbortController;
  /** Everything written so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Standard input; on a terminal it is in raw mode, so single keys answer questions. */
  readonly input: PassThrough;
}

export interface TestContextOptions {
  readonly cwd?: string;
  readonly json?: boolean;
  readonly terminal?: boolean;
  readonly app?: string;
  readonly client?: ApiClient;
}

export function createTestContext(options: TestContextOptions = {}): TestContext {
  const isTTY = options.terminal === true;
  const stream = (): PassThrough & { isTTY: boolean; columns: number; setRawMode: () => void } =>
    Object.assign(new PassThrough(), { isTTY, columns: 100, setRawMode: () => undefined });
  const [input, out, err] = [stream(), stream(), stream()];
  const texts = { out: '', err: '' };
  out.on('data', (chunk: Buffer) => (texts.out += chunk.toString('utf8')));
  err.on('data', (chunk: Buffer) => (texts.err += chunk.toString('utf8')));
  const interrupt = new AbortController();
  const streams = { input, output: out, errors: err } as unknown as CommandContext['streams']; // the part of a terminal that is used here
  const client = options.client;
  return {
    interrupt,
    input,
    stdout: () => texts.out,
    stderr: () => texts.err,
    context: {
      settings: { noColor: true, url: null, token: null },
      output: createOutput({ json: options.json === true, noColor: true, stdout: out, stderr: err, canAsk: () => isTTY }),
      cwd: options.cwd ?? '/',
      clock: systemClock,
      signal: interrupt.signal,
      client: async () => client ?? unused(),
      endpoint: unused,
      local: idlePlatform,
      registry,
      app: async () => options.app ?? unused(),
      readInput: unused,
      streams,
      appFlag: options.app ?? null,
      environment: 'production',
    },
  };
}

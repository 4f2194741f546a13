// For tests: a real keeper in a process of its own, which can be killed and comes back, and a temporary folder that leaves nothing.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../lib/clock.ts';
import { connectKeeper, ensureKeeper, keeperSocketPath } from './keeper-client.ts';
import type { KeeperClient } from './keeper-client.ts';
import { isIdentityAlive, readIdentity } from './process-identity.ts';

const KEEPER = new URL('../keeper/keeper.ts', import.meta.url).href;

export interface KeeperFixture {
  readonly folder: string;
  readonly runFolder: string;
  readonly argv: readonly string[];
  readonly client: KeeperClient;
  /** One more client, as a second librad would have. */
  connect(): Promise<KeeperClient>;
  pid(): number;
  /** Kills the keeper with SIGKILL and waits until it is gone; the client brings a new one. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** Waits until `check` gives something other than false, null or undefined; rejects with `what` after `deadlineMs`. */
export async function until<T>(what: string, check: () => T | Promise<T>, deadlineMs = 10_000): Promise<NonNullable<T>> {
  const end = systemClock.monotonic() + deadlineMs;
  for (;;) {
    const result = await check();
    if (result !== null && result !== undefined && result !== false) return result;
    if (systemClock.monotonic() > end) throw new Error(`never happened within ${deadlineMs} ms: ${what}`);
    await systemClock.sleep(10);
  }
}

/** Words that run a keeper on the sources, as `libra keeper` does in the product. */
export function keeperArgv(socketPath: string, options: { readonly idleMs?: number } = {}): string[] {
  const settings = JSON.stringify({ socketPath, program: 'test', ...options });
  const code = `import { runKeeper } from ${JSON.stringify(KEEPER)};
const keeper = await runKeeper(${settings});
for (const name of ['SIGINT', 'SIGHUP']) process.on(name, () => undefined);
await keeper.ended;
process.exit(0);`;
  return [process.execPath, '--input-type=module', '-e', code];
}

/** A temporary folder that other users can pass, as /var/lib/libra is. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'libra-test-'));
  chmodSync(folder, 0o711);
  return folder;
}

export async function startKeeperFixture(): Promise<KeeperFixture> {
  const folder = temporaryFolder();
  const runFolder = join(folder, 'run');
  const socketPath = keeperSocketPath(runFolder);
  const argv = keeperArgv(socketPath);
  const revive = (): Promise<unknown> => ensureKeeper({ runFolder, argv });
  const clients: KeeperClient[] = [];
  const connect = async (): Promise<KeeperClient> => {
    const client = await connectKeeper({ socketPath, program: 'test', revive });
    clients.push(client);
    return client;
  };
  const client = await connect();
  const pid = (): number => client.connectedTo()?.pid ?? 0;
  return {
    folder,
    runFolder,
    argv,
    client,
    connect,
    pid,
    kill: async () => {
      const identity = readIdentity(pid());
      if (identity === null) throw new Error('no keeper to kill');
      process.kill(identity.pid, 'SIGKILL');
      await until('the killed keeper is gone', () => !isIdentityAlive(identity));
    },
    close: async () => {
      const identity = readIdentity(pid());
      await client.request({ op: 'shutdown', force: true });
      for (const each of clients) await each.close();
      if (identity !== null) await until('the keeper has ended', () => !isIdentityAlive(identity));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs a module text in a process of its own; used for clients that are to be killed. */
export function runModule(code: string): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
}

// Which platform a command talks to, as whom, and about which App: variables, else the local platform of the data folder; flags, else
// the manifest of the current folder. One place, so that every command answers these questions alike.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import type { ApiClient } from './api-client.ts';
import type { CliSettings, CommandContext, CommandGroup } from './command.ts';
import type { LocalPlatform } from './local-platform.ts';
import type { Output } from './output.ts';
import type { GlobalFlags } from './parser.ts';

/** The name in the first `app:` line of the folder's manifest; cheap, so that `libra ps` need not parse YAML. */
async function appOfFolder(cwd: string): Promise<string | null> {
  for (const file of ['libra.yaml', 'libra.yml']) {
    const text = await readFile(join(cwd, file), 'utf8').catch(() => null);
    if (text !== null) return /^app:\s*["']?([a-z0-9-]+)["']?\s*(?:#.*)?$/mu.exec(text)?.[1] ?? null;
  }
  return null;
}

export interface ContextOptions {
  readonly settings: CliSettings;
  readonly local: LocalPlatform;
  readonly cwd: string;
  readonly signal: AbortSignal;
  readonly output: Output;
  readonly streams: CommandContext['streams'];
  readonly registry: readonly CommandGroup[];
  readonly flags: GlobalFlags;
}

export function createContext(options: ContextOptions): CommandContext {
  const { settings, local, flags } = options;
  let client: Promise<ApiClient> | null = null;
  let endpoint: Promise<{ readonly url: string; readonly token: string }> | null = null;
  const find = async (): Promise<{ readonly url: string; readonly token: string }> => {
    if (settings.url !== null) {
      const token = settings.token ?? (await local.ownerToken());
      if (token === null) {
        throw new Failure('unauthenticated', { message: `No credential for ${settings.url}.`, hint: 'Set LIBRA_TOKEN.' });
      }
      return { url: settings.url, token };
    }
    const running = await local.running();
    if (running === null) {
      throw new Failure('unreachable', {
        message: 'No platform runs on this machine with this data folder.',
        hint: "Start one with 'libra up', or name another with LIBRA_URL and LIBRA_TOKEN.",
      });
    }
    if (running.node !== undefined) {
      throw new Failure('unauthenticated', {
        message: `This machine is Node ${running.node} of the platform at ${running.api}; it holds no credential of a person.`,
        hint: 'Run the command on a machine of the control plane, or name the platform with LIBRA_URL and LIBRA_TOKEN.',
      });
    }
    const token = settings.token ?? (await local.ownerToken());
    if (token === null) {
      throw new Failure('unauthenticated', {
        message: 'A platform runs here, but its owner token cannot be read by this user.',
        hint: 'Run as the user who started it, or set LIBRA_TOKEN.',
      });
    }
    return { url: running.api, token };
  };
  const locate = (): Promise<{ readonly url: string; readonly token: string }> => (endpoint ??= find());
  return {
    settings,
    clock: systemClock,
    endpoint: locate,
    output: options.output,
    cwd: options.cwd,
    signal: options.signal,
    local,
    registry: options.registry,
    streams: options.streams,
    readInput: async (maxBytes) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of options.streams.input) {
        const part = Buffer.from(chunk);
        chunks.push(part);
        bytes += part.length;
        if (bytes >= maxBytes) break;
      }
      return Buffer.concat(chunks).subarray(0, maxBytes);
    },
    appFlag: flags.app,
    environment: flags.environment,
    client: () =>
      (client ??= (async () => {
        // Loading takes longer than looking; both at once.
        const [{ connect }, found] = await Promise.all([import('./api-client.ts'), locate()]);
        return connect(found);
      })()),
    app: async () => {
      const name = flags.app ?? (await appOfFolder(options.cwd));
      if (name === null) {
        throw new Failure('invalid_input', {
          message: 'Which App? There is no libra.yaml with a name in this folder.',
          hint: "Name it with --app, or run the command in the App's folder. 'libra apps' lists them.",
        });
      }
      return name;
    },
  };
}

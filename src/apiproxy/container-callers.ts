// Callers in containers: in each of their networks the API Proxy listens at the address of the machine, and the address of a caller there
// says which Instance it is. The agent keeps the file that says so; the token of the Instance is read from its own file and then counts as
// if the caller had sent it.

import { readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import type { Loop } from '../lib/loop.ts';
import type { Log } from '../sys/log.ts';

/** A network of containers. */
interface CallerNetwork {
  readonly gateway: string;
  /** Files with tokens, by addresses of callers. */
  readonly tokens: ReadonlyMap<string, string>;
}

export interface ContainerCallers {
  start(): void;
  /** The token of whoever calls from there; null: nobody knows who that is. Waits a while for one that has just begun. */
  token(gateway: string, address: string): Promise<string | null>;
  stop(): Promise<void>;
}

export interface ContainerCallersOptions {
  readonly file: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Networks that there are now, by the address of the machine in each. */
  readonly onNetworks: (gateways: ReadonlySet<string>) => Promise<void>;
}

const LOOK_EVERY_MS = 100;
/** A container may call before its agent has heard from Docker that it runs. */
const NEWCOMER_MS = 2_000;
const NEWCOMER_STEP_MS = 25;
/** Tokens are replaced every two minutes, with twelve left. */
const TOKEN_KEPT_MS = 5_000;
const TOKENS_KEPT = 4_096;

export function createContainerCallers({ file, clock, log, onNetworks }: ContainerCallersOptions): ContainerCallers {
  let seen = '';
  let networks: ReadonlyMap<string, CallerNetwork> = new Map();
  const tokens = new Map<string, { readonly text: string; readonly readMs: number }>();
  let loop: Loop | null = null;

  /** Whether it has changed. What cannot be read leaves the ones of before. */
  const look = (): boolean => {
    try {
      return lookAnew();
    } catch (error) {
      log.warn({ file, error: messageOf(error) }, 'which containers there are cannot be read; those of before count on');
      return false;
    }
  };
  const lookAnew = (): boolean => {
    const facts = statSync(file, { throwIfNoEntry: false, bigint: true });
    const now = facts === undefined ? '' : `${facts.ino} ${facts.size} ${facts.mtimeNs}`;
    if (now === seen) return false;
    // Once for each state of the file, whatever comes of it.
    seen = now;
    networks = facts === undefined ? new Map() : networksIn(JSON.parse(readFileSync(file, 'utf8')));
    return true;
  };

  const read = async (path: string): Promise<string | null> => {
    const known = tokens.get(path);
    if (known !== undefined && clock.monotonic() - known.readMs < TOKEN_KEPT_MS) return known.text;
    try {
      const text = (await readFile(path, 'utf8')).trim();
      if (tokens.size >= TOKENS_KEPT) tokens.clear();
      tokens.set(path, { text, readMs: clock.monotonic() });
      return text;
    } catch {
      // It went with its Instance.
      tokens.delete(path);
      return null;
    }
  };

  return {
    start: () => {
      loop = startLoop({
        clock,
        everyMs: LOOK_EVERY_MS,
        onError: (error) => log.warn({ file, error: messageOf(error) }, 'networks of containers are not served; it is tried again'),
        run: async () => {
          if (look()) await onNetworks(new Set(networks.keys()));
        },
      });
    },
    token: async (gateway, address) => {
      const untilMs = clock.monotonic() + NEWCOMER_MS;
      for (;;) {
        const path = networks.get(gateway)?.tokens.get(address);
        if (path !== undefined) return read(path);
        if (clock.monotonic() >= untilMs) return null;
        await clock.sleep(NEWCOMER_STEP_MS);
        if (look()) await onNetworks(new Set(networks.keys()));
      }
    },
    stop: async () => {
      await loop?.stop();
    },
  };
}

/** What has not the form of a network is none. */
function networksIn(value: unknown): ReadonlyMap<string, CallerNetwork> {
  const list = isRecord(value) && Array.isArray(value['networks']) ? value['networks'] : [];
  const found = new Map<string, CallerNetwork>();
  for (const each of list) {
    if (!isRecord(each) || typeof each['gateway'] !== 'string' || !isRecord(each['tokens'])) continue;
    const entries = Object.entries(each['tokens']).flatMap(([address, path]) =>
      typeof path === 'string' ? [[address, path] as const] : [],
    );
    found.set(each['gateway'], { gateway: each['gateway'], tokens: new Map(entries) });
  }
  return found;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// One round of load on one proxy, by wrk or h2load. A round in which an answer was not what it should be is no measurement: it throws.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { quantile } from '../report.ts';
import { LOAD_CORE, pinned } from './program.ts';

const run = promisify(execFile);

export interface Round {
  readonly requests: number;
  readonly seconds: number;
  readonly p99Ms: number;
}

async function output(argv: readonly string[]): Promise<string> {
  const [command = '', ...words] = pinned(LOAD_CORE, argv);
  const { stdout } = await run(command, words, { maxBuffer: 16 * 1024 * 1024 });
  return stdout;
}

function numberIn(text: string, pattern: RegExp, what: string): number {
  const found = Number(pattern.exec(text)?.[1]);
  if (Number.isNaN(found)) throw new Error(`the load generator did not tell ${what}: ${text}`);
  return found;
}

/** `1.23ms`, `456.00us` or `1.20s` as milliseconds. */
function durationMs(text: string): number {
  const [, digits = '', unit = ''] = /^([\d.]+)(us|ms|s|m)$/u.exec(text) ?? [];
  const perUnit = { us: 0.001, ms: 1, s: 1000, m: 60_000 }[unit];
  return perUnit === undefined ? Number.NaN : Number(digits) * perUnit;
}

export interface WrkOptions {
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  /** A connection for each request. */
  readonly close?: boolean;
  /** Further lines of the head. */
  readonly headers?: readonly string[];
  /** A Lua file that makes the requests. */
  readonly script?: string;
}

export async function wrk({ url, seconds, connections, close = false, headers = [], script }: WrkOptions): Promise<Round> {
  const text = await output([
    'wrk',
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '--latency',
    '--timeout=10s',
    ...(close ? ['-H', 'Connection: close'] : []),
    ...headers.flatMap((line) => ['-H', line]),
    ...(script === undefined ? [] : ['-s', script]),
    url,
  ]);
  if (/Non-2xx|Socket errors/u.test(text)) throw new Error(`${url} was not answered as it should be: ${text}`);
  return {
    requests: numberIn(text, /(\d+) requests in/u, 'how many requests'),
    seconds: durationMs(/requests in ([\d.a-z]+),/u.exec(text)?.[1] ?? '') / 1000,
    p99Ms: durationMs(/^\s+99%\s+(\S+)$/mu.exec(text)?.[1] ?? ''),
  };
}

export interface H2loadOptions {
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  readonly streams: number;
}

export async function h2load({ url, seconds, connections, streams }: H2loadOptions): Promise<Round> {
  const folder = mkdtempSync(join(tmpdir(), 'libra-h2load-'));
  const log = join(folder, 'requests.tsv');
  try {
    const text = await output(['h2load', `-c${connections}`, `-m${streams}`, '-t1', `-D${seconds}`, `--log-file=${log}`, url]);
    const requests = numberIn(text, /status codes: (\d+) 2xx/u, 'how many requests');
    // Those that the end of the round finds under way are no failures.
    if (!/status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx/u.test(text) || !/ 0 failed, 0 errored, 0 timeout/u.test(text))
      throw new Error(`${url} was not answered as it should be: ${text}`);
    const micros = readFileSync(log, 'latin1')
      .split('\n')
      .map((line) => Number(line.split('\t')[2]))
      .filter((value) => !Number.isNaN(value));
    return { requests, seconds, p99Ms: quantile(micros, 0.99) / 1000 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

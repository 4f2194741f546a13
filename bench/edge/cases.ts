// The cases in which all contestants take turns, with what is asked of Libra beside them, and how the outcome is told.

import { availableParallelism } from 'node:os';
import type { Figure } from '../report.ts';
import { h2load, wrk } from './load.ts';
import type { Round } from './load.ts';
import type { Proxy } from './proxies.ts';
import type { Measured } from './rounds.ts';

export interface Case {
  readonly name: string;
  readonly title: string;
  /** Null: the proxy does not offer it. */
  readonly load: (proxy: Proxy) => ((seconds: number) => Promise<Round>) | null;
  /** Least share of a peer's requests per CPU-second. */
  readonly least?: Readonly<Record<string, number>>;
}

/** HTTP/1.1 and HTTP/2 alike. */
export const IN_FLIGHT = 64;

export const CASES: readonly Case[] = [
  {
    name: 'keep-alive',
    title: '1 KiB answers, 64 keep-alive connections',
    load:
      ({ plainUrl }) =>
      (seconds) =>
        wrk({ url: `${plainUrl}/small`, seconds, connections: IN_FLIGHT }),
    // Asked for: 0.6 of nginx and 2.5 times Caddy. Aimed at: 0.8 of nginx.
    least: { nginx: 0.6, Caddy: 2.5 },
  },
  {
    name: 'bodies',
    title: '64 KiB answers, 64 keep-alive connections',
    load:
      ({ plainUrl }) =>
      (seconds) =>
        wrk({ url: `${plainUrl}/large`, seconds, connections: IN_FLIGHT }),
  },
  {
    name: 'connections',
    title: '1 KiB answers, a connection for each request',
    load:
      ({ plainUrl }) =>
      (seconds) =>
        wrk({ url: `${plainUrl}/small`, seconds, connections: IN_FLIGHT, close: true }),
  },
  {
    name: 'tls',
    title: '1 KiB answers over TLS, 64 keep-alive connections',
    load:
      ({ tlsUrl }) =>
      (seconds) =>
        wrk({ url: `${tlsUrl}/small`, seconds, connections: IN_FLIGHT }),
  },
  {
    name: 'h2',
    title: '1 KiB answers over HTTP/2 and TLS, 8 connections of 8 streams',
    load: ({ tlsUrl, h2 }) => (h2 ? (seconds) => h2load({ url: `${tlsUrl}/small`, seconds, connections: 8, streams: 8 }) : null),
  },
];

export function formatMeasured(title: string, all: readonly Measured[], against: string): string {
  const base = all.find(({ name }) => name === against);
  const rows = all.map((one) => [
    one.name,
    Math.round(one.perCpuSecond).toLocaleString('en'),
    base === undefined ? '' : (one.perCpuSecond / base.perCpuSecond).toFixed(2),
    Math.round(one.perSecond).toLocaleString('en'),
    one.p99Ms.toFixed(1),
    (one.pssBytes / 2 ** 20).toFixed(0),
    String(one.rounds),
    `${(one.othersShare * 100).toFixed(0)} %`,
  ]);
  const head = ['', 'requests/CPU-s', `of ${against}`, 'requests/s', 'p99 ms', 'PSS MiB', 'rounds', 'others'];
  const widths = head.map((text, column) => Math.max(text.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ');
  return [title, ...[head, ...rows].map((cells) => `  ${line(cells)}`)].join('\n');
}

/** What each did, and Libra's part of each, with its target. */
export function figuresOf({ title, least = {} }: Pick<Case, 'title' | 'least'>, all: readonly Measured[]): readonly Figure[] {
  const libra = all.find(({ name }) => name === 'Libra');
  return all.flatMap((one): Figure[] => {
    const target = least[one.name];
    const figures: Figure[] = [
      { name: `${title}: ${one.name}: requests per CPU-second`, value: one.perCpuSecond, unit: '' },
      { name: `${title}: ${one.name}: requests`, value: one.perSecond, unit: '/s' },
      { name: `${title}: ${one.name}: slowest hundredth from`, value: one.p99Ms, unit: 'ms' },
      { name: `${title}: ${one.name}: PSS`, value: one.pssBytes / 2 ** 20, unit: 'MiB' },
    ];
    if (libra === undefined || one === libra) return figures;
    const share = libra.perCpuSecond / one.perCpuSecond;
    return [
      ...figures,
      { name: `${title}: Libra's part of ${one.name}`, value: share, unit: '×', ...(target === undefined ? {} : { least: target }) },
    ];
  });
}

/** Throws where the machine cannot give the proxy a core of its own. */
export function requireCores(): void {
  if (availableParallelism() < 2) throw new Error('the proxy and what makes the load need a core each');
}

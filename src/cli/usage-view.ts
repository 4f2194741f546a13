// A history of what was taken as cells of a table: how it went as a line of bars, and how it is now.

import type { ApiClient } from './api-client.ts';
import type { CommandInput } from './command.ts';
import type { OptionSpec } from './option-spec.ts';
import { momentOption } from './options.ts';
import { formatBytes } from './output.ts';

type Point = Awaited<ReturnType<ApiClient['nodes']['stats']>>['points'][number];
type Value = Exclude<keyof Point, 'atMs'>;

const BARS = '▁▂▃▄▅▆▇█';
/** Columns of a terminal that the rest of a row needs. */
const OTHER_COLUMNS = 96;
const NARROWEST = 8;
const WIDEST = 30;
const WHERE_NO_TERMINAL = 20;

export const spanOptions: readonly OptionSpec[] = [
  { name: 'since', value: 'time', help: 'from then on: 10m (ago), or 2026-11-27T08:00Z; default an hour ago; two days are kept' },
  { name: 'until', value: 'time', help: 'until then; default now' },
];

export interface UsageSpan {
  readonly sinceMs: number;
  readonly untilMs: number;
}

export function spanOf(input: CommandInput, nowMs: number): UsageSpan {
  const untilMs = momentOption(input, 'until', nowMs) ?? nowMs;
  return { sinceMs: momentOption(input, 'since', nowMs) ?? untilMs - 3_600_000, untilMs };
}

export const usageHeadings: readonly string[] = ['CPU', 'OVER TIME', 'MEMORY', 'OVER TIME', 'IN', 'OUT', 'READ', 'WRITTEN'];

/** @param terminal that the table is for */
export function usageCells(
  history: { readonly stepMs: number; readonly points: readonly Point[] },
  span: UsageSpan,
  terminal: { readonly isTTY?: boolean; readonly columns?: number },
): string[] {
  const room = Math.floor(((terminal.columns ?? 80) - OTHER_COLUMNS) / 2);
  const width = terminal.isTTY === true ? Math.min(WIDEST, Math.max(NARROWEST, room)) : WHERE_NO_TERMINAL;
  const last = history.points.at(-1);
  const perSecond = (name: Value): string => {
    const bytes = last?.[name] ?? null;
    return bytes === null ? '' : `${formatBytes(bytes)}/s`;
  };
  return [
    last === undefined || last.cpu === null ? '' : last.cpu.toFixed(2),
    bars(history, 'cpu', span, width),
    last === undefined || last.memoryBytes === null ? '' : formatBytes(last.memoryBytes),
    bars(history, 'memoryBytes', span, width),
    ...(['receivedPerSecond', 'sentPerSecond', 'readPerSecond', 'writtenPerSecond'] as const).map(perSecond),
  ];
}

/** The most of each part of the time; the highest bar is the most of all, and a gap says that nothing was measured. */
function bars({ stepMs, points }: Parameters<typeof usageCells>[0], name: Value, { sinceMs, untilMs }: UsageSpan, width: number): string {
  const most: (number | null)[] = Array.from({ length: width }, () => null);
  const partAt = (atMs: number): number => Math.max(0, Math.min(width - 1, Math.floor(((atMs - sinceMs) / (untilMs - sinceMs)) * width)));
  for (const point of points) {
    const value = point[name];
    if (value === null) continue;
    // One step may be several parts.
    for (let part = partAt(point.atMs); part <= partAt(point.atMs + stepMs - 1); part += 1) most[part] = Math.max(most[part] ?? 0, value);
  }
  const highest = Math.max(...most.map((value) => value ?? 0));
  const text = most.map((value) => {
    if (value === null) return ' ';
    return BARS[highest === 0 ? 0 : Math.round((value / highest) * (BARS.length - 1))] ?? '';
  });
  return points.length === 0 ? '' : text.join('');
}

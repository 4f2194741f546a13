// What a command says, and how: results on stdout, progress and errors on stderr, colours and moving lines only on a terminal, one
// JSON value (or JSON lines) with --json. Piped output never changes with the width or the mood of a terminal.

import { styleText } from 'node:util';
import { FAILURE_CODES } from '../lib/failure.ts';
import type { Failure } from '../lib/failure.ts';

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

export interface Stream {
  write(text: string): boolean;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Output {
  readonly json: boolean;
  /** Whether questions can be asked and moving lines drawn. */
  readonly interactive: boolean;
  /** One line of the result, for people. Nothing with --json. */
  line(text?: string): void;
  /** The result as one JSON value. Only with --json. */
  value(value: unknown): void;
  /** Rows under headings, columns aligned; empty cells as `-`. Nothing with --json. */
  table(headings: readonly string[], rows: readonly (readonly string[])[]): void;
  /** A remark on stderr that is not part of the result. Nothing with --json. */
  note(text: string): void;
  /** Replaces the moving last line on a terminal; elsewhere nothing. An empty text takes it away. */
  progress(text: string): void;
  /** A warning on stderr, also with --json. */
  warn(text: string): void;
  fail(failure: Failure): void;
  style(style: Style, text: string): string;
  /** Text without styles that is written as it is. */
  raw(text: string, to: 'stdout' | 'stderr'): void;
}

/** Characters that could move the cursor or change colours, taken out of text that comes from programs and people. */
export function printable(text: string): string {
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

export function createOutput(options: {
  readonly json: boolean;
  readonly noColor: boolean;
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly canAsk: boolean;
}): Output {
  const { stdout, stderr, json } = options;
  let moving = false;
  const clear = (): void => {
    if (!moving) return;
    stderr.write('\r\u001b[2K');
    moving = false;
  };
  const style = (name: Style, text: string): string =>
    options.noColor || stdout.isTTY !== true ? text : styleText(name, text, { validateStream: false });
  const styleError = (name: Style, text: string): string =>
    options.noColor || stderr.isTTY !== true ? text : styleText(name, text, { validateStream: false });
  return {
    json,
    interactive: options.canAsk && !json && stderr.isTTY === true,
    style,
    line: (text = '') => {
      if (json) return;
      clear();
      stdout.write(`${text}\n`);
    },
    value: (value) => {
      if (!json) return;
      clear();
      stdout.write(`${JSON.stringify(value)}\n`);
    },
    table: (headings, rows) => {
      if (json) return;
      clear();
      const cells = [headings, ...rows].map((row) => headings.map((_, column) => printable(row[column] ?? '') || '-'));
      const widths = headings.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
      cells.forEach((row, index) => {
        const text = row
          .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
          .join('  ')
          .trimEnd();
        stdout.write(`${index === 0 ? style('dim', text) : text}\n`);
      });
    },
    note: (text) => {
      if (json) return;
      clear();
      stderr.write(`${text}\n`);
    },
    progress: (text) => {
      if (json || stderr.isTTY !== true) return;
      clear();
      if (text === '') return;
      stderr.write(text.slice(0, Math.max(20, (stderr.columns ?? 80) - 1)));
      moving = true;
    },
    warn: (text) => {
      clear();
      stderr.write(`${styleError('yellow', 'warning:')} ${text}\n`);
    },
    fail: (failure) => {
      clear();
      if (json) {
        stderr.write(
          `${JSON.stringify({ error: { code: failure.code, message: failure.message, hint: failure.hint ?? null, details: failure.details ?? null, retryable: FAILURE_CODES[failure.code].retryable } })}\n`,
        );
        return;
      }
      stderr.write(`${styleError('red', 'error:')} ${printable(failure.message)}\n`);
      const problems = failure.details?.['problems'];
      if (Array.isArray(problems)) for (const problem of problems.slice(0, 50)) stderr.write(`  ${printable(String(problem))}\n`);
      if (failure.hint !== undefined) stderr.write(`${styleError('dim', 'next:')} ${printable(failure.hint)}\n`);
    },
    raw: (text, to) => {
      clear();
      (to === 'stdout' ? stdout : stderr).write(text);
    },
  };
}

/** A duration for people: `0.4 s`, `12 s`, `3 min 5 s`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 9950) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** How long ago, for tables: `3s`, `5m`, `2h`, `4d`. */
export function formatAge(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** Bytes for people, binary units as in the manifest: `512Ki`, `1.5Gi`. */
export function formatBytes(bytes: number): string {
  const units = ['', 'Ki', 'Mi', 'Gi', 'Ti'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) || value >= 100 ? Math.round(value) : value.toFixed(1)}${units[unit] ?? ''}`;
}

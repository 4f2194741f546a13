// What a command says, and how: results on stdout, progress and errors on stderr, colours and moving lines only on a terminal, one
// JSON value (or JSON lines) with --json. Piped output never changes with the width or the mood of a terminal.

import { stripVTControlCharacters, styleText } from 'node:util';
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

const WIDE =
  /\p{Script=Han}|\p{Script=Hangul}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Emoji_Presentation}|[\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u;
const WIDTHLESS = /\p{Mark}|\p{Format}/u;

/** Columns that a text takes on a terminal. */
export function displayWidth(text: string): number {
  if (/^[\u0020-\u007e]*$/u.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += WIDTHLESS.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

/** The beginning of a text that fits into so many columns, with `…` where something is cut off. */
function fitted(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text;
  let kept = '';
  let width = 1;
  for (const character of text) {
    width += displayWidth(character);
    if (width > columns) break;
    kept += character;
  }
  return `${kept}…`;
}

/** Problems of one failure that are printed; --json has them all. */
const MAX_PROBLEMS = 50;
/** Two spaces between columns. */
const GAP = 2;
/** No column is made narrower than this, or than its heading. */
const NARROWEST = 8;

/** Widths of columns: what their cells need, and where a terminal is too narrow, less for the widest between the
 * first, which identifies, and the last, often a URL or a message. */
function columnWidths(cells: readonly (readonly string[])[], terminal: number | null): readonly number[] {
  const headings = cells[0] ?? [];
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => displayWidth(row[column] ?? ''))));
  const least = headings.map((heading) => Math.max(NARROWEST, displayWidth(heading)));
  for (;;) {
    const total = widths.reduce((sum, width) => sum + width, 0) + GAP * (widths.length - 1);
    if (terminal === null || total <= terminal) return widths;
    let widest = -1;
    for (const [column, width] of widths.entries())
      if (column > 0 && column < widths.length - 1 && width > (least[column] ?? 0) && width > (widths[widest] ?? 0)) widest = column;
    if (widest === -1) return widths;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

export function createOutput(options: {
  readonly json: boolean;
  readonly noColor: boolean;
  readonly stdout: Stream;
  readonly stderr: Stream;
  /** Whether standard input is a terminal; asked only when a question is due. */
  readonly canAsk: () => boolean;
}): Output {
  const { stdout, stderr, json } = options;
  let moving = false;
  const clear = (): void => {
    if (!moving) return;
    stderr.write('\r\u001b[2K');
    moving = false;
  };
  const colored = (stream: Stream): boolean => !options.noColor && stream.isTTY === true;
  const style = (name: Style, text: string): string =>
    colored(stdout) || colored(stderr) ? styleText(name, text, { validateStream: false }) : text;
  // One of the two may be a file: what goes there loses its styles again.
  const write = (stream: Stream, text: string): void => {
    clear();
    stream.write(`${colored(stream) ? text : stripVTControlCharacters(text)}\n`);
  };
  return {
    json,
    get interactive() {
      return !json && stderr.isTTY === true && options.canAsk();
    },
    style,
    line: (text = '') => {
      if (!json) write(stdout, text);
    },
    value: (value) => {
      if (json) write(stdout, JSON.stringify(value));
    },
    table: (headings, rows) => {
      if (json) return;
      const cells = [headings, ...rows].map((row) =>
        headings.map((_, column) => printable(row[column] ?? '').replaceAll('\n', ' ') || '-'),
      );
      const widths = columnWidths(cells, stdout.isTTY === true ? (stdout.columns ?? null) : null);
      for (const [index, row] of cells.entries()) {
        const text = row
          .map((cell, column) => {
            if (column === row.length - 1) return cell;
            const shown = fitted(cell, widths[column] ?? 0);
            return shown + ' '.repeat((widths[column] ?? 0) - displayWidth(shown) + GAP);
          })
          .join('')
          .trimEnd();
        write(stdout, index === 0 ? style('dim', text) : text);
      }
    },
    note: (text) => {
      if (!json) write(stderr, text);
    },
    progress: (text) => {
      if (json || stderr.isTTY !== true) return;
      clear();
      if (text === '') return;
      stderr.write(fitted(text, Math.max(20, (stderr.columns ?? 80) - 1)));
      moving = true;
    },
    warn: (text) => {
      if (json) write(stderr, JSON.stringify({ warning: text }));
      else write(stderr, `${style('yellow', 'warning:')} ${printable(text)}`);
    },
    fail: (failure) => {
      if (json) {
        const { code, message, hint = null, details = null } = failure;
        write(stderr, JSON.stringify({ error: { code, message, hint, details, retryable: FAILURE_CODES[code].retryable } }));
        return;
      }
      write(stderr, `${style('red', 'error:')} ${printable(failure.message)}`);
      const problems = failure.details?.['problems'];
      if (Array.isArray(problems)) {
        for (const problem of problems.slice(0, MAX_PROBLEMS)) write(stderr, `  ${printable(String(problem))}`);
        if (problems.length > MAX_PROBLEMS) write(stderr, `  and ${problems.length - MAX_PROBLEMS} more`);
      }
      if (failure.hint !== undefined) write(stderr, `${style('dim', 'next:')} ${printable(failure.hint)}`);
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

/** `1 App`, `2 Apps`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
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

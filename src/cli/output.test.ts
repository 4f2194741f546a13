import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Failure } from '../lib/failure.ts';
import { counted, createOutput, displayWidth, formatAge, formatBytes, formatDuration, printable } from './output.ts';
import type { Output } from './output.ts';

interface Sink {
  text: string;
  readonly isTTY: boolean;
  readonly columns?: number;
  write(text: string): boolean;
}

function sink(isTTY: boolean, columns?: number): Sink {
  return {
    text: '',
    isTTY,
    ...(columns === undefined ? {} : { columns }),
    write(text) {
      this.text += text;
      return true;
    },
  };
}

function outputOn(options: { readonly out?: Sink; readonly err?: Sink; readonly json?: boolean; readonly noColor?: boolean }): {
  readonly output: Output;
  readonly out: Sink;
  readonly err: Sink;
} {
  const out = options.out ?? sink(false);
  const err = options.err ?? sink(false);
  const output = createOutput({
    json: options.json === true,
    noColor: options.noColor === true,
    stdout: out,
    stderr: err,
    canAsk: () => true,
  });
  return { output, out, err };
}

const ESCAPE = '\u001b';

describe('output', () => {
  test('aligns the columns of a table and shows an empty cell as a dash', () => {
    const { output, out } = outputOn({});
    output.table(
      ['APP', 'STATE', 'URL'],
      [
        ['shop', 'healthy', 'http://shop.localhost'],
        ['a-long-name', '', ''],
      ],
    );
    assert.equal(
      out.text,
      ['APP          STATE    URL', 'shop         healthy  http://shop.localhost', 'a-long-name  -        -', ''].join('\n'),
    );
  });

  test('aligns wide characters by the columns that they take', () => {
    const { output, out } = outputOn({});
    output.table(
      ['NAME', 'N'],
      [
        ['日本', '1'],
        ['abcd', '2'],
        ['e\u0301', '3'],
      ],
    );
    assert.deepEqual(out.text.trimEnd().split('\n'), ['NAME  N', '日本  1', 'abcd  2', 'e\u0301     3']);
    assert.equal(displayWidth('🚀'), 2);
  });

  test('keeps a piped table whole however narrow the terminal is, and fits one on a terminal', () => {
    const row = ['01a1fc27-a5d7', 'a-reason-that-goes-on-and-on-and-on', 'http://x'];
    const piped = outputOn({ out: sink(false, 40) });
    piped.output.table(['ID', 'REASON', 'URL'], [row]);
    assert.ok(piped.out.text.includes(row.join('  ')));
    const narrow = outputOn({ out: sink(true, 40), noColor: true });
    narrow.output.table(['ID', 'REASON', 'URL'], [row]);
    const lines = narrow.out.text.trimEnd().split('\n');
    assert.ok(
      lines.every((line) => displayWidth(line) <= 40),
      narrow.out.text,
    );
    assert.match(lines[1] ?? '', /^01a1fc27-a5d7 {2}a-reason-\S*… {2}http:\/\/x$/u);
  });

  test('fits every table into its terminal, or keeps all columns at their least', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string(), fc.string(), fc.string()), { maxLength: 8 }),
        fc.integer({ min: 20, max: 200 }),
        (rows, columns) => {
          const { output, out } = outputOn({ out: sink(true, columns), noColor: true });
          output.table(['A', 'B', 'C'], rows);
          const lines = out.text.slice(0, -1).split('\n');
          assert.equal(lines.length, rows.length + 1);
          const fixed =
            Math.max(1, ...rows.map((row) => displayWidth(printable(row[0])))) +
            Math.max(1, ...rows.map((row) => displayWidth(printable(row[2]))));
          for (const line of lines) assert.ok(displayWidth(line) <= Math.max(columns, fixed + 8 + 4), line);
        },
      ),
    );
  });

  test('writes styles only where a terminal reads them', () => {
    const toFile = outputOn({ out: sink(false), err: sink(true) });
    toFile.output.line(toFile.output.style('red', 'x'));
    toFile.output.note(toFile.output.style('red', 'y'));
    assert.equal(toFile.out.text, 'x\n');
    assert.ok(toFile.err.text.includes(ESCAPE));
    const both = outputOn({ out: sink(true), err: sink(true), noColor: true });
    both.output.line(both.output.style('bold', 'x'));
    both.output.fail(new Failure('not_found', { message: 'gone' }));
    assert.ok(!both.out.text.includes(ESCAPE) && !both.err.text.includes(ESCAPE));
  });

  test('draws a moving line on a terminal only, and takes it away before the next line', () => {
    const piped = outputOn({});
    piped.output.progress('half');
    assert.equal(piped.err.text, '');
    const terminal = outputOn({ out: sink(true), err: sink(true, 30) });
    terminal.output.progress('x'.repeat(100));
    terminal.output.line('done');
    assert.equal(terminal.err.text, `${'x'.repeat(28)}…\r${ESCAPE}[2K`);
    assert.equal(terminal.out.text, 'done\n');
  });

  test('prints one JSON value with --json and nothing for people', () => {
    const { output, out, err } = outputOn({ json: true, out: sink(true), err: sink(true) });
    output.line('text');
    output.note('text');
    output.progress('text');
    output.table(['A'], [['b']]);
    output.value({ a: 1 });
    assert.deepEqual(JSON.parse(out.text), { a: 1 });
    assert.equal(err.text, '');
    assert.equal(output.interactive, false);
  });

  test('prints failures and warnings as JSON lines on stderr with --json', () => {
    const { output, out, err } = outputOn({ json: true });
    output.warn('careful');
    output.fail(new Failure('conflict', { message: 'Changed meanwhile.', hint: 'Try again.', details: { name: 'shop' } }));
    const lines = err.text
      .trim()
      .split('\n')
      .map((line): unknown => JSON.parse(line));
    assert.deepEqual(lines, [
      { warning: 'careful' },
      { error: { code: 'conflict', message: 'Changed meanwhile.', hint: 'Try again.', details: { name: 'shop' }, retryable: true } },
    ]);
    assert.equal(out.text, '');
  });

  test('prints a failure with its problems and the next step, at most fifty of them', () => {
    const { output, err } = outputOn({});
    const problems = Array.from({ length: 52 }, (_, index) => `libra.yaml:${index + 1}:1 wrong`);
    output.fail(new Failure('manifest_invalid', { message: 'The manifest has 52 errors.', hint: 'Mend it.', details: { problems } }));
    const lines = err.text.trimEnd().split('\n');
    assert.equal(lines[0], 'error: The manifest has 52 errors.');
    assert.equal(lines[1], '  libra.yaml:1:1 wrong');
    assert.deepEqual(lines.slice(-2), ['  and 2 more', 'next: Mend it.']);
  });

  test('lets no text of others move the cursor', () => {
    assert.equal(printable(`a${ESCAPE}[31mb\rc\td\u202e`), 'a\ufffd[31mb\ufffdc\td\ufffd');
    const { output, out } = outputOn({});
    output.table(['A', 'B'], [[`x${ESCAPE}[2J`, 'two\nlines']]);
    assert.ok(!out.text.includes(ESCAPE));
    assert.equal(out.text.trimEnd().split('\n').length, 2);
  });
});

describe('quantities for people', () => {
  test('durations, ages, bytes and counts read naturally', () => {
    assert.deepEqual([0, 9949, 9950, 119_000, 185_000, 7_260_000].map(formatDuration), [
      '0.0 s',
      '9.9 s',
      '10 s',
      '119 s',
      '3 min 5 s',
      '2 h 1 min',
    ]);
    assert.deepEqual([-5, 59_999, 60_000, 7_200_000, 200_000_000].map(formatAge), ['0s', '59s', '1m', '2h', '2d']);
    assert.deepEqual([0, 1023, 1024, 1536, 500 * 1024 ** 2].map(formatBytes), ['0', '1023', '1Ki', '1.5Ki', '500Mi']);
    assert.deepEqual([counted(0, 'App'), counted(1, 'App')], ['0 Apps', '1 App']);
  });
});

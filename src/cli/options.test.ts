import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import type { CommandInput } from './command.ts';
import { flagOption, momentOption, numberOption, textOption } from './options.ts';

const input = (options: CommandInput['options']): CommandInput => ({ arguments: {}, options, rest: [] });
const bounds = { min: 1, max: 500, default: 20 };

test('a number is read within its bounds, and its default holds where it is absent', () => {
  assert.equal(numberOption(input({ limit: '7' }), 'limit', bounds), 7);
  assert.equal(numberOption(input({}), 'limit', bounds), 20);
});

test('what is no number within the bounds is refused with the bounds', () => {
  for (const text of ['0', '501', '-1', '1.5', '1e2', 'many', '', ' 7', '0x10', '9'.repeat(40)]) {
    assert.throws(
      () => numberOption(input({ limit: text }), 'limit', bounds),
      (error) => isFailure(error, 'invalid_input') && error.message.includes('from 1 to 500'),
      text,
    );
  }
});

test('a switch is no text and a text is no switch', () => {
  assert.equal(textOption(input({ yes: true }), 'yes'), null);
  assert.equal(flagOption(input({ yes: 'true' }), 'yes'), false);
  assert.equal(flagOption(input({ yes: true }), 'yes'), true);
});

test('a moment is a time ago or a date', () => {
  const now = Date.UTC(2026, 10, 27, 12);
  const momentOf = (text: string): number | null => momentOption(input({ since: text }), 'since', now);
  assert.equal(momentOption(input({}), 'since', now), null);
  assert.equal(momentOf('10m'), now - 600_000);
  assert.equal(momentOf('0'), now);
  assert.equal(momentOf('2026-11-27T11:50:00Z'), now - 600_000);
  assert.equal(momentOf('2026-11-27 13:00+01:00'), now);
  assert.equal(momentOf('2026-11-27'), new Date(2026, 10, 27).getTime());
  assert.equal(momentOf('2026-11-27 01:00'), new Date(2026, 10, 27, 1).getTime());
  for (const text of ['', 'yesterday', '10', '-5m', '2026-13-01', '2026-11-27T25:00Z', '27.11.2026', '99999d99999999999s'])
    assert.throws(
      () => momentOf(text),
      (error) => isFailure(error, 'invalid_input') && error.message.includes('--since'),
      text,
    );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import type { CommandInput } from './command.ts';
import { flagOption, numberOption, textOption } from './options.ts';

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

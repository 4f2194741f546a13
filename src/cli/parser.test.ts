import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure } from '../lib/failure.ts';
import type { Command } from './command.ts';
import { idlePlatform as local } from './cli-fixture.ts';
import { commandFirst, parseCommand } from './parser.ts';

const deploy: Command = {
  summary: 'Deploy.',
  example: 'libra deploy folder',
  arguments: [{ name: 'folder', help: 'folder', required: false }],
  options: [
    { name: 'yes', short: 'y', help: 'never ask' },
    { name: 'label', value: 'text', help: 'label' },
    { name: 'no-deploy', help: 'do not' },
  ],
  run: async () => 0,
};
const exec: Command = { ...deploy, example: 'libra exec -- env', options: [], rest: 'command' };
const set: Command = {
  ...deploy,
  arguments: [{ name: 'values', help: 'NAME=value', required: true, variadic: true }],
  example: 'libra env set A=1',
};

function parsed(command: Command, ...words: readonly string[]): Exclude<ReturnType<typeof parseCommand>, { readonly help: true }> {
  const result = parseCommand('deploy', command, words, local);
  if ('help' in result) throw new Error('help was not asked for');
  return result;
}

function refused(command: Command, ...words: readonly string[]): { readonly message: string; readonly hint: string | undefined } {
  try {
    parseCommand('deploy', command, words, local);
  } catch (error) {
    assert.ok(error instanceof Failure);
    assert.equal(error.code, 'invalid_input');
    return { message: error.message, hint: error.hint };
  }
  throw new Error('it was not refused');
}

describe('the parser', () => {
  test('reads arguments and options in any order and form', () => {
    for (const words of [
      ['folder', '-y', '--label', 'x', '-a', 'shop', '-e', 'staging', '--json'],
      ['--json', '-ashop', '--environment=staging', '-y', '--label=x', 'folder'],
    ]) {
      const { input, flags } = parsed(deploy, ...words);
      assert.deepEqual(input.arguments, { folder: ['folder'] });
      assert.equal(input.options['yes'], true);
      assert.equal(input.options['label'], 'x');
      assert.deepEqual(flags, { json: true, app: 'shop', environment: 'staging' });
    }
  });

  test('takes production where no Environment is named', () => {
    assert.deepEqual(parsed(deploy).flags, { json: false, app: null, environment: 'production' });
  });

  test('knows a switch whose name begins with no', () => {
    assert.equal(parsed(deploy, '--no-deploy').input.options['no-deploy'], true);
    assert.equal(parsed(deploy).input.options['no-deploy'], undefined);
  });

  test('hands words behind -- on untouched to a command that runs them', () => {
    const { input, flags } = parsed(exec, 'web', '--', 'node', '--json', '-e', '--', 'x');
    assert.deepEqual(input.rest, ['node', '--json', '-e', '--', 'x']);
    assert.deepEqual(flags, { json: false, app: null, environment: 'production' });
  });

  test('takes words behind -- as arguments elsewhere, also those with a dash', () => {
    assert.deepEqual(parsed(deploy, '--', '-strange-folder').input.arguments, { folder: ['-strange-folder'] });
  });

  test('refuses what it does not know, with what was probably meant', () => {
    assert.deepEqual(refused(deploy, '--lable', 'x'), { message: 'libra deploy has no option --lable.', hint: 'Did you mean --label?' });
    assert.equal(refused(deploy, '-q').hint, 'libra deploy --help');
    assert.equal(refused(deploy, '--__proto__=1').message, 'libra deploy has no option --__proto__.');
    assert.equal(refused(deploy, 'a', 'b').message, 'libra deploy takes no further word "b".');
    assert.match(refused(exec, 'web', 'env').hint ?? '', /stands behind --/u);
  });

  test('refuses missing, doubled and misplaced values', () => {
    assert.match(refused(deploy, '--label').message, /needs a value/u);
    assert.match(refused(deploy, '--label', '--yes').message, /looks like an option/u);
    assert.equal(parsed(deploy, '--label=--yes').input.options['label'], '--yes');
    assert.match(refused(deploy, '--yes=1').message, /takes no value/u);
    assert.match(refused(deploy, '-a', 'one', '-a', 'two').message, /given twice/u);
    assert.equal(refused(set).message, 'libra deploy needs values: NAME=value.');
  });

  test('refuses names that cannot be one before the platform is asked', () => {
    assert.match(refused(deploy, '-a', 'Shop_1').message, /--app must be a lower-case DNS label/u);
    assert.match(refused(deploy, '-e', '../x').message, /--environment must be/u);
  });

  test('collects the words of a variadic argument', () => {
    assert.deepEqual(parsed(set, 'A=1', '-y', 'B=--x').input.arguments, { values: ['A=1', 'B=--x'] });
  });

  test('gives help where it is asked for, whatever else is wrong before it', () => {
    assert.deepEqual(parseCommand('deploy', set, ['--help'], local), { help: true });
    assert.deepEqual(parseCommand('deploy', set, ['A=1', '-h'], local), { help: true });
  });

  test('moves options in front of the command behind it', () => {
    assert.deepEqual(commandFirst(['-a', 'shop', '--json', 'ps', '--all']), ['ps', '--all', '-a', 'shop', '--json']);
    assert.deepEqual(commandFirst(['--environment=x', 'exec', '--', 'env']), ['exec', '--environment=x', '--', 'env']);
    assert.deepEqual(commandFirst(['ps', '-a', 'shop']), ['ps', '-a', 'shop']);
    assert.deepEqual(commandFirst(['--help']), ['--help']);
    assert.deepEqual(commandFirst([]), []);
  });
});

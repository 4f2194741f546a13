import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { commandHelp, overview, wrap } from './help.ts';
import { idlePlatform as local } from './cli-fixture.ts';
import { optionsOf, sharedOptionsOf } from './parser.ts';
import { entriesOf, findCommand, nearestCommand, nearestSecondWord, registry } from './registry.ts';

const nameOf = (argv: readonly string[]): string | null => {
  const found = findCommand(argv);
  return found?.kind === 'command' ? found.entry.name : null;
};

describe('the registry', () => {
  test('finds the longest name that begins the words', () => {
    assert.equal(nameOf(['env']), 'env');
    assert.equal(nameOf(['env', 'set', 'A=1']), 'env set');
    assert.equal(nameOf(['deploy', 'set']), 'deploy');
    assert.equal(findCommand(['frobnicate']), null);
  });

  test('knows what is meant by a typing error, a beginning, or a word of other platforms', () => {
    assert.equal(nearestCommand('delpoy'), 'deploy');
    assert.equal(nearestCommand('rollbak'), 'rollback');
    assert.equal(nearestCommand('ap'), 'apps');
    assert.equal(nearestCommand('push'), 'deploy');
    assert.equal(nearestCommand('destroy'), 'apps delete');
    assert.equal(nearestCommand('constructor'), null);
    assert.equal(nearestCommand('xyzzy'), null);
    assert.equal(nearestSecondWord('secrets', 'sett'), 'secrets set');
    assert.equal(nearestSecondWord('secrets', 'xyzzy'), null);
  });

  test('has no name twice, and a complete help text for every command', async () => {
    const entries = registry.flatMap((group) => group.commands);
    assert.equal(new Set(entries.map((entry) => entry.name)).size, entries.length);
    for (const entry of entries) {
      const command = await entry.load();
      assert.match(command.summary, /^[A-Z].*\.$/su, entry.name);
      assert.ok(command.example.includes(`libra ${entry.name.split(' ')[0] ?? ''}`), entry.name);
      const options = [...optionsOf(command, local), ...sharedOptionsOf(command)];
      assert.equal(new Set(options.map((option) => option.name)).size, options.length, `${entry.name}: an option twice`);
      const shorts = options.flatMap((option) => (option.short === undefined ? [] : [option.short]));
      assert.equal(new Set(shorts).size, shorts.length, `${entry.name}: a short option twice`);
      const required = (command.arguments ?? []).map((argument) => argument.required);
      assert.deepEqual(
        required,
        required.toSorted((left, right) => Number(right) - Number(left)),
        `${entry.name}: optional before required`,
      );
      const help = await commandHelp(entry.name, command, local, entriesOf(entry.name), 80);
      for (const option of options) assert.ok(help.includes(`--${option.name}`), `${entry.name}: ${option.name}`);
      assert.ok(help.endsWith(`Example:\n  ${command.example}\n`));
    }
  });

  test('fits its overview to the width, and names every command in it', async () => {
    const text = await overview(registry, 60);
    for (const line of text.split('\n')) assert.ok(line.length <= 62, line);
    for (const entry of registry.flatMap((group) => group.commands)) assert.match(text, new RegExp(`^  ${entry.name}\\b`, 'mu'));
  });
});

test('wrap breaks between words and never inside one', () => {
  assert.deepEqual(wrap('one two three', 7), ['one two', 'three']);
  assert.deepEqual(wrap('a-very-long-word b', 5), ['a-very-long-word', 'b']);
});

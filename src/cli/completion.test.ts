import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { lacking } from '../../test/requirements.ts';
import { completionScript } from './completion.ts';
import { idlePlatform as local } from './cli-fixture.ts';
import { registry } from './registry.ts';

const folder = mkdtempSync(join(tmpdir(), 'libra-completion-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(script: string): string {
  const file = join(folder, 'script');
  writeFileSync(file, script);
  return file;
}

/** What bash offers behind these words; the last one is being typed. */
async function offered(...words: readonly string[]): Promise<readonly string[]> {
  const script = await completionScript('bash', registry, local);
  const driver = `${script}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _libra; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, status, stderr } = spawnSync('bash', ['-c', driver, 'bash', 'libra', ...words], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout.split('\n').filter((line) => line !== '');
}

describe('completion', () => {
  for (const name of ['bash', 'zsh', 'fish'] as const) {
    test(`the script for ${name} is valid`, { skip: lacking(name) }, async () => {
      const script = await completionScript(name, registry, local);
      const { status, stderr } = spawnSync(name, ['-n', fileOf(script)], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      assert.equal(stderr, '');
    });
  }

  test('offers commands, second words and options where each is due', { skip: lacking('bash') }, async () => {
    assert.deepEqual(await offered('rol'), ['rollback']);
    assert.deepEqual(
      (await offered('')).length,
      new Set(registry.flatMap((group) => group.commands).map((entry) => entry.name.split(' ')[0])).size,
    );
    assert.deepEqual(await offered('secrets', ''), ['set', 'unset']);
    assert.deepEqual(await offered('secrets', 's'), ['set']);
    assert.ok((await offered('secrets', 'set', '--')).includes('--file'));
    assert.ok(!(await offered('secrets', '--')).includes('--file'));
    assert.deepEqual(await offered('deploy', '--l'), ['--label']);
    assert.deepEqual(await offered('up', '--da'), ['--data']);
  });

  test('leaves folders and values of options to the shell', { skip: lacking('bash') }, async () => {
    assert.deepEqual(await offered('deploy', ''), []);
    assert.deepEqual(await offered('secrets', 'set', 'name', '--file', ''), []);
  });

  test('fish offers what bash does', { skip: lacking('fish') }, async () => {
    const file = fileOf(await completionScript('fish', registry, local));
    const offers = (line: string): readonly string[] => {
      const code = 'source $argv[1]; complete -C $argv[2]';
      const { stdout, status, stderr } = spawnSync('fish', ['--no-config', '-c', code, file, line], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      return stdout.split('\n').flatMap((text) => (text === '' ? [] : [text.split('\t')[0] ?? '']));
    };
    assert.deepEqual(offers('libra rol'), ['rollback']);
    assert.deepEqual(offers('libra secrets s'), ['set']);
    assert.ok(offers('libra secrets set --').includes('--file'));
    assert.ok(!offers('libra env set --').includes('--file'));
  });

  test('fish is told every option with its help, quotes and all', async () => {
    const script = await completionScript('fish', registry, local);
    assert.match(script, /-n '__fish_seen_subcommand_from secrets; and __fish_seen_subcommand_from set' -s f -l file -r -d 'take/u);
    assert.match(script, /where all of Libra'\\''s state lives/u);
  });
});

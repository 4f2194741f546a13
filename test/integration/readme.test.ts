// The README's commands, typed as they stand there, on a copy of the examples. What a `text` block shows after them must be printed; `…`
// stands for anything, durations, sizes and ports may differ.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { root, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

interface Block {
  readonly language: string;
  readonly text: string;
}

const blocks: readonly Block[] = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```(sh|text)\n(.*?)^```$/gmsu)].map(
  ([, language = '', text = '']) => ({ language, text }),
);

/** A line of a `text` block as a pattern. */
function pattern(line: string): RegExp {
  const escaped = line.replaceAll(/[\\^$.*+?()[\]{}|]/gu, String.raw`\$&`);
  const loose = escaped
    .replaceAll(/:(?:8080|7400)/gu, String.raw`:\d+`)
    .replaceAll(/ *\d+\\\.\d s/gu, String.raw` *[\d.]+ (?:s|min)`)
    .replaceAll('…', '.*');
  return new RegExp(`^${loose}$`, 'mu');
}

describe('the README', { skip: lacking('curl', 'bash') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-readme-'));
  const data = join(folder, 'data');
  const env = {
    PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
    HOME: folder,
    LIBRA_DATA: data,
    LIBRA_API_PORT: '0',
    LIBRA_EDGE_PORT: '0',
    LIBRA_EDGE_TLS_PORT: '0',
    LIBRA_APIPROXY_PORT: '0',
    NO_COLOR: '1',
  };
  let platform: ChildProcess | null = null;
  let port = '';

  cpSync(join(root, 'examples'), join(folder, 'examples'), { recursive: true });
  for (const name of ['bin', 'package.json', 'scripts', 'src', 'node_modules', 'package-lock.json'])
    symlinkSync(join(root, name), join(folder, name));

  // Otherwise `npm start` would install first, with the settings of an empty home.
  before(() => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/setup.mjs'], { cwd: root, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });

  after(async () => {
    if (platform !== null && platform.exitCode === null) {
      const child = platform;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGINT');
      await gone;
    }
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  });

  /** Runs one block to its end, or, where it stays, until it has printed what is expected. */
  const runBlock = async (text: string, expected: readonly string[]): Promise<string> => {
    const stays = /^npm start$/mu.test(text);
    const script = text.replaceAll(':8080', `:${port}`);
    const child = spawn('bash', ['-euo', 'pipefail', '-c', stays ? `exec ${script}` : script], {
      cwd: folder,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
    if (stays) {
      platform = child;
      await until(`${text.trim()} prints what the README says`, 30_000, () => expected.every((line) => pattern(line).test(output)));
      port = /localhost:(\d+)/u.exec(output)?.[1] ?? '';
      return output;
    }
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    assert.equal(code, 0, `${script}\n${output}`);
    return output;
  };

  test('has commands and shows what they print', () => {
    assert.ok(blocks.filter((block) => block.language === 'sh').length >= 5);
    assert.ok(blocks.filter((block) => block.language === 'text').length >= 4);
    assert.equal(blocks[0]?.language, 'sh');
  });

  for (const [index, block] of blocks.entries()) {
    if (block.language !== 'sh') continue;
    const next = blocks[index + 1];
    const expected = next?.language === 'text' ? next.text.trimEnd().split('\n') : [];
    test(`says the truth about: ${block.text.split('\n')[0] ?? ''}`, { timeout: 120_000 }, async () => {
      const output = await runBlock(block.text, expected);
      for (const line of expected) assert.match(output, pattern(line));
    });
  }
});

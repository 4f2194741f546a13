import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Failure, isFailure } from '../lib/failure.ts';
import type { ApiClient } from './api-client.ts';
import { createTestContext } from './cli-fixture.ts';
import { readSource } from './deploy-source.ts';

const made: string[] = [];
after(() => made.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

function folderWith(files: Readonly<Record<string, string>>, name = 'My Shop'): string {
  const parent = realpathSync(mkdtempSync(join(tmpdir(), 'libra-cli-')));
  made.push(parent);
  const folder = join(parent, name);
  mkdirSync(folder);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

const site = { 'index.html': '<h1>hello</h1>' };

/** A client of which detection asks only what the Nodes run. */
function clientRunning(artifacts: readonly string[] | 'nothing answers'): ApiClient {
  const list = async (): Promise<unknown> => {
    if (artifacts === 'nothing answers') throw new Failure('unreachable', { message: 'The platform does not answer.' });
    return { items: [{ drivers: [{ name: 'process', artifacts }] }], next: null };
  };
  return { nodes: { list } } as unknown as ApiClient; // the rest is not called
}

describe('the source of a deploy', () => {
  test('is the manifest of the folder, read without a question', async () => {
    const folder = folderWith({ 'libra.yml': 'app: shop\nbuild: { static: . }\n', ...site });
    const { context, stderr } = createTestContext({ cwd: dirname(folder) });
    const source = await readSource(context, 'My Shop', { yes: false });
    assert.deepEqual([source.manifest.app, source.detected, source.folder], ['shop', false, folder]);
    assert.equal(stderr(), '');
  });

  test('reports every error of a manifest with its place', async () => {
    const folder = folderWith({ 'libra.yaml': 'app: Shop\nentrypoints:\n  web: { instances: many }\nbuidl: {}\n' });
    const { context } = createTestContext({ cwd: folder });
    await assert.rejects(readSource(context, undefined, { yes: true }), (error) => {
      assert.ok(isFailure(error, 'manifest_invalid'));
      const problems = error.details?.['problems'];
      assert.ok(Array.isArray(problems) && problems.length >= 3, String(problems));
      assert.match(String(problems[0]), /^libra\.yaml:1:6 app: /u);
      return true;
    });
  });

  test('is refused where --app names another App than the manifest', async () => {
    const folder = folderWith({ 'libra.yaml': 'app: shop\nbuild: { static: . }\n', ...site });
    const { context } = createTestContext({ cwd: folder, app: 'other' });
    await assert.rejects(
      readSource(context, undefined, { yes: true }),
      (error) => isFailure(error, 'invalid_input') && /manifest of shop, and --app says other/u.test(error.message),
    );
  });

  test('is detected in a folder without manifest, shown with the reasons, and taken with --yes', async () => {
    const folder = folderWith(site);
    const { context, stderr } = createTestContext({ cwd: folder });
    const source = await readSource(context, undefined, { yes: true });
    assert.deepEqual([source.manifest.app, source.detected], ['my-shop', true]);
    assert.match(stderr(), /because there is index\.html and no program/u);
    assert.match(stderr(), /^ {2}app: my-shop$/mu);
  });

  test('takes its name from --app where there is no manifest', async () => {
    const { context } = createTestContext({ cwd: folderWith(site), app: 'shop' });
    assert.equal((await readSource(context, undefined, { yes: true })).manifest.app, 'shop');
  });

  test('is refused without a manifest where nobody can be asked, after showing what was found', async () => {
    const { context, stderr } = createTestContext({ cwd: folderWith(site) });
    await assert.rejects(
      readSource(context, undefined, { yes: false }),
      (error) => isFailure(error, 'invalid_input') && /--yes/u.test(error.hint ?? ''),
    );
    assert.match(stderr(), /This was found/u);
  });

  for (const [key, answer] of [
    ['y', true],
    ['n', false],
    ['\u0003', false],
  ] as const) {
    test(`is asked for once on a terminal, and ${JSON.stringify(key)} means ${answer ? 'yes' : 'no'}`, { timeout: 10_000 }, async () => {
      const { context, input, stdout, stderr } = createTestContext({ cwd: folderWith(site), terminal: true });
      const outcome = readSource(context, undefined, { yes: false }).then(
        (source) => source.detected,
        (error: unknown) => {
          assert.ok(isFailure(error, 'canceled'));
          return false;
        },
      );
      // The key has to come after the question.
      while (!stderr().includes('Deploy it like this?')) await new Promise((resolve) => setImmediate(resolve));
      input.write(key);
      assert.equal(await outcome, answer);
      assert.equal(stdout(), '', 'questions are not results');
    });
  }

  test('says what is missing in a folder in which nothing is recognised', async () => {
    const { context } = createTestContext({ cwd: folderWith({ 'notes.txt': 'x' }) });
    await assert.rejects(
      readSource(context, undefined, { yes: true }),
      (error) => isFailure(error, 'manifest_invalid') && /libra init/u.test(error.hint ?? ''),
    );
  });

  test('is refused where there is no folder, or a file instead', async () => {
    const folder = folderWith(site);
    const { context } = createTestContext({ cwd: folder });
    await assert.rejects(readSource(context, 'nowhere', { yes: true }), (error) => isFailure(error, 'not_found'));
    await assert.rejects(readSource(context, 'index.html', { yes: true }), (error) => isFailure(error, 'invalid_input'));
  });

  test('passes over a Dockerfile as long as no Node runs images', async () => {
    const folder = folderWith({
      Dockerfile: 'FROM scratch\n',
      'server.js': '',
      'package.json': '{ "scripts": { "start": "node server.js" } }',
    });
    const builds = async (client: ApiClient): Promise<string> => {
      const { context } = createTestContext({ cwd: folder, client });
      return (await readSource(context, undefined, { yes: true })).manifestText;
    };
    assert.doesNotMatch(await builds(clientRunning(['bundle'])), /dockerfile/u);
    assert.match(await builds(clientRunning(['bundle', 'image'])), /dockerfile/u);
    assert.match(await builds(clientRunning('nothing answers')), /dockerfile/u);
  });
});

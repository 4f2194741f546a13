// Files into an Instance and out of it, end to end: the command line, the API, the agent and the process driver.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { sized } from '../full-size.ts';
import { Platform, root, until } from '../platform.ts';

/** Of the file that goes both ways. */
const MEBIBYTES = sized({ usual: 96, full: 1024, setting: 'LIBRA_TEST_COPY_MIB' });

describe('libra cp', () => {
  const platform = new Platform();
  const at = (name: string): string => join(platform.data, 'here', name);
  const cp = (...words: readonly string[]) => platform.cli('cp', ...words);
  const say = async (...words: readonly string[]): Promise<string> => {
    const result = await platform.cli('exec', '-a', 'shop', '--', ...words);
    assert.equal(result.code, 0, result.stderr);
    return result.stdout;
  };
  before(async () => {
    await platform.start();
    const web = ['resources: { cpu: 1, memory: 256Mi, disk: 8Gi }', 'volumes: [{ name: data, path: /data, size: 4Gi }]'];
    const files = serverApp({ text: 'here', web });
    // The fixture names resources too.
    const manifest = files['libra.yaml']?.replace('    resources: { cpu: 0.2, memory: 128Mi }\n', '') ?? '';
    const deployed = await platform.cli('deploy', writeApp(platform, 'shop', { ...files, 'libra.yaml': manifest }));
    assert.equal(deployed.code, 0, deployed.stderr);
    mkdirSync(at('folder/inner'), { recursive: true });
    writeFileSync(at('folder/inner/a.txt'), 'text', { mode: 0o640 });
    chmodSync(at('folder/inner/a.txt'), 0o640);
    writeFileSync(at('folder/run'), 'echo', { mode: 0o755 });
    symlinkSync('run', at('folder/link'));
    symlinkSync('/etc/passwd', at('folder/out'));
  });
  after(() => platform.dispose());

  test('a folder goes in, belongs to the App, and comes out as it was; links that lead out are left out and told', async () => {
    const into = await cp(at('folder'), 'shop/web:copied');
    assert.equal(into.code, 0, into.stderr);
    assert.match(into.stderr, /Left out: copied\/out is a link that leads out/u);
    assert.match(into.stderr, /Copied 3 files, 8 bytes\.$/mu);
    assert.equal((await say('node', '-p', "fs.readFileSync('copied/inner/a.txt', 'utf8')")).trim(), 'text');
    const owners = await say('node', '-p', "[process.getuid(), fs.statSync('copied').uid, fs.statSync('copied/run').uid].join()");
    assert.equal(new Set(owners.trim().split(',')).size, 1, owners);
    const out = await cp('shop:copied', at('back'), '--json');
    assert.equal(out.code, 0, out.stderr);
    assert.deepEqual((JSON.parse(out.stdout) as { files: number; bytes: number }).files, 3);
    assert.deepEqual(readdirSync(at('back')).toSorted(), ['inner', 'link', 'run']);
    assert.equal(statSync(at('back/inner/a.txt')).mode & 0o777, 0o640);
    assert.equal(readFileSync(at('back/link'), 'utf8'), 'echo');
    // Into a folder that is there.
    assert.equal((await cp('shop:copied/inner', at('back'))).code, 0);
    assert.equal(readFileSync(at('back/inner/a.txt'), 'utf8'), 'text');
  });

  test('volumes are reached by their path, a tar goes through standard input and output', async () => {
    assert.equal((await cp(at('folder/run'), 'shop:/data')).code, 0);
    assert.equal((await say('node', '-p', "fs.readFileSync('data/run', 'utf8')")).trim(), 'echo');
    const libra = join(root, 'bin/libra');
    const tar = execFileSync(libra, ['cp', 'shop:data', '-'], { env: platform.env, stdio: ['ignore', 'pipe', 'ignore'] });
    assert.equal(execFileSync('tar', ['-t'], { input: tar, encoding: 'utf8' }), 'data/\ndata/run\n');
    const input = execFileSync('tar', ['-C', at('folder'), '-c', 'inner']);
    execFileSync(libra, ['cp', '-', 'shop:data'], { env: platform.env, input, stdio: ['pipe', 'pipe', 'ignore'] });
    assert.equal((await say('node', '-p', "fs.readFileSync('data/inner/a.txt', 'utf8')")).trim(), 'text');
  });

  test('what leads out of the Instance is refused, both ways, and nothing is where nothing was asked for', async () => {
    await say('node', '-e', "fs.symlinkSync('/etc', 'away'); fs.symlinkSync('../../..', 'up')");
    const refused: readonly (readonly [words: readonly string[], code: number, text: RegExp])[] = [
      [['shop:away/passwd', at('stolen')], 2, /leads out of the folders of the Instance/u],
      [['shop:up', at('stolen')], 2, /leads out/u],
      [['shop:../../../owner.token', at('stolen')], 2, /leads out/u],
      [['shop:/etc/passwd', at('stolen')], 3, /There is nothing at/u],
      [[at('folder/run'), 'shop:away/libra-test-witness'], 2, /leads out/u],
      [[at('folder/run'), 'shop:none/deeper'], 3, /There is no folder/u],
      [['shop:none', at('stolen')], 3, /There is nothing at none/u],
      [['shop:copied', at('none/deeper')], 3, /There is no folder/u],
      [[at('none'), 'shop:x'], 3, /There is nothing at/u],
      [['shop:a', 'shop:b'], 2, /Both ends are Instances/u],
    ];
    for (const [words, code, text] of refused) {
      const result = await cp(...words);
      assert.equal(result.code, code, `${words.join(' ')}: ${result.stderr}`);
      assert.match(result.stderr, text, words.join(' '));
    }
    assert.ok(!existsSync(at('stolen')) && !existsSync('/etc/libra-test-witness'));
  });

  test('a hostile tar is refused by the Node, which keeps what came before', async () => {
    const input = execFileSync('tar', ['-C', at('folder'), '-P', '--transform', 's,^run$,../../../evil,', '-c', 'inner', 'run']);
    const child = spawn(join(root, 'bin/libra'), ['cp', '-', 'shop:data'], { env: platform.env, stdio: ['pipe', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 1, text);
    assert.match(text, /evil .*leads out of the folder/u);
  });

  test(`${MEBIBYTES} MiB go both ways in flat memory`, { timeout: 600_000 }, async () => {
    const before = memoryOf(platform.pid);
    execFileSync('dd', ['if=/dev/urandom', `of=${at('big')}`, 'bs=1M', `count=${MEBIBYTES}`], { stdio: 'ignore' });
    for (const [from, to] of [
      [at('big'), 'shop:data/big'],
      ['shop:data/big', at('again')],
    ] as const) {
      const result = await cp(from, to);
      assert.equal(result.code, 0, result.stderr);
    }
    execFileSync('cmp', [at('big'), at('again')]);
    const grown = memoryOf(platform.pid) - before;
    assert.ok(grown < 160 * 1024 * 1024, `librad took ${Math.round(grown / 1024 / 1024)} MiB more at its most`);
  });

  test('a copy that is interrupted leaves no half file on either side', async () => {
    const child = spawn(join(root, 'bin/libra'), ['cp', '-', 'shop:data'], { env: platform.env, stdio: ['pipe', 'ignore', 'ignore'] });
    execFileSync('dd', ['if=/dev/zero', `of=${at('half')}`, 'bs=1M', 'count=4'], { stdio: 'ignore' });
    const tar = execFileSync('tar', ['-C', at(''), '-c', 'half'], { maxBuffer: 2 ** 24 });
    child.stdin.write(tar.subarray(0, 2 * 1024 * 1024));
    const drafts = async (): Promise<readonly string[]> =>
      (await say('node', '-p', "fs.readdirSync('data').filter((name) => name.startsWith('.')).join()"))
        .trim()
        .split(',')
        .filter((name) => name !== '');
    await until('the Node has begun to write', 20_000, async () => (await drafts()).length > 0);
    child.kill('SIGKILL');
    await until('nothing of it is left', 20_000, async () => (await drafts()).length === 0);
  });
});

/** The most that a process has had, bytes. */
function memoryOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

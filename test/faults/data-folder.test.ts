// Data folders and ports that are not as they should be: every refusal says what, where and what next, and nothing is left running.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Platform } from '../platform.ts';

describe('a second platform', () => {
  const first = new Platform();
  before(() => first.start());
  after(() => first.dispose());

  test('on the same data folder is told who holds it', async () => {
    const second = new Platform({ data: first.data });
    const result = await second.cli('up');
    assert.equal(result.code, 5, result.stderr);
    assert.match(result.stderr, new RegExp(`in use by process ${first.addresses.pid}`, 'u'));
    assert.match(result.stderr, /next:/u);
    assert.equal((await first.cli('status')).code, 0, 'the first one runs on');
  });

  test('on the same API port is told the port, the process and the flag', async () => {
    const second = new Platform({ env: { LIBRA_API_PORT: new URL(first.addresses.api).port } });
    try {
      const result = await second.cli('up');
      assert.equal(result.code, 5, result.stderr);
      assert.match(result.stderr, new RegExp(new URL(first.addresses.api).port, 'u'));
      assert.match(result.stderr, /--api-port/u);
    } finally {
      await second.dispose();
    }
  });

  test('on the same Edge port is told the port, the process and the flag', async () => {
    const second = new Platform({ env: { LIBRA_EDGE_PORT: String(first.edgePort) } });
    try {
      const result = await second.cli('up');
      assert.equal(result.code, 5, result.stderr);
      assert.match(result.stderr, new RegExp(String(first.edgePort), 'u'));
      assert.match(result.stderr, /--edge-port/u);
    } finally {
      await second.dispose();
    }
  });
});

describe('a data folder', () => {
  test('of a newer version is refused and left as it is', async () => {
    const platform = new Platform();
    try {
      await platform.start();
      await platform.stop();
      writeFileSync(join(platform.data, 'format.json'), JSON.stringify({ format: 999, program: '99.0.0' }));
      const result = await platform.cli('up');
      assert.equal(result.code, 1, result.stderr);
      assert.match(result.stderr, /newer/u);
    } finally {
      await platform.dispose();
    }
  });

  test('that is a file is refused with its path', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'libra-test-'));
    try {
      writeFileSync(join(folder, 'data'), 'not a folder');
      const platform = new Platform({ data: join(folder, 'data'), env: { HOME: folder } });
      const result = await platform.cliWith({ cwd: folder }, 'up');
      assert.equal(result.code, 1, result.stderr);
      assert.match(result.stderr, /a file is in its place/u);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('with a damaged store is refused and never replaced by an empty one', async () => {
    const platform = new Platform();
    try {
      await platform.start();
      await platform.stop();
      writeFileSync(join(platform.data, 'store.db'), 'this is no database'.repeat(1000));
      const result = await platform.cli('up');
      assert.equal(result.code, 1, result.stderr);
      assert.match(result.stderr, /store\.db/u);
    } finally {
      await platform.dispose();
    }
  });

  test('that cannot be made is refused with the reason', async () => {
    const platform = new Platform({ data: '/proc/libra-test', env: { HOME: tmpdir() } });
    const result = await platform.cliWith({ cwd: tmpdir() }, 'up');
    assert.equal(result.code, 1, result.stderr);
    assert.match(result.stderr, /\/proc\/libra-test/u);
  });
});

describe('a port', () => {
  test('that somebody else holds is an error that names it', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo; // listening on TCP
    const platform = new Platform({ env: { LIBRA_EDGE_PORT: String(port) } });
    try {
      mkdirSync(platform.data, { recursive: true });
      const result = await platform.cli('up');
      assert.equal(result.code, 5, result.stderr);
      assert.match(result.stderr, new RegExp(`${port}`, 'u'));
      assert.match(result.stderr, new RegExp(`${process.pid}|node`, 'u'), 'the process that holds it is named');
    } finally {
      holder.close();
      await platform.dispose();
    }
  });
});

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeAuthority } from '../../../test/fixtures/certificate.ts';
import { lacking } from '../../../test/requirements.ts';
import { systemClock } from '../../lib/clock.ts';
import { silentLog } from '../../sys/log.ts';
import { createPortAllocator } from '../../sys/ports.ts';
import { testDriverContract } from '../contract-suite.ts';
import type { Behaviour, DriverHarness } from '../contract-suite.ts';
import type { Driver } from '../contract.ts';
import { startTestDocker } from './dockerd-fixture.ts';
import type { TestDocker } from './dockerd-fixture.ts';
import { createDriverFixture } from './driver-fixture.ts';
import { parseEngineEndpoint } from './endpoint.ts';
import { createEngine } from './engine.ts';
import { createImageGarbage } from './image-garbage.ts';
import { startTestRegistry } from './registry-fixture.ts';

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** As a script for the shell of busybox, which the image has. */
function program({ exitAfterMs, exitCode, lines, ignoresStop }: Behaviour): string {
  return [
    ignoresStop === true ? "trap '' TERM" : '',
    ...(lines ?? []).map((line) => (line.startsWith('! ') ? `echo ${quote(line.slice(2))} >&2` : `echo ${quote(line)}`)),
    exitAfterMs === undefined ? 'while :; do sleep 1; done' : `sleep ${exitAfterMs / 1000}; exit ${exitCode ?? 0}`,
  ].join('\n');
}

describe('docker', { skip: lacking('dockerd') }, () => {
  let docker: TestDocker;
  let image = '';
  let url = '';
  const folder = mkdtempSync(join(tmpdir(), 'libra-docker-tls-'));
  before(async () => {
    const authority = makeAuthority();
    const server = authority.issue('localhost');
    const client = authority.issueClient('librad');
    const write = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const ca = write('ca.pem', authority.certificatePem);
    write('cert.pem', client.cert);
    write('key.pem', client.key);
    const own = ['--tlscert', write('server.pem', server.chainPem), '--tlskey', write('server-key.pem', server.keyPem)];
    const port = await createPortAllocator({ file: join(folder, 'ports.json'), clock: systemClock }).allocate('dockerd');
    url = `tcp://localhost:${port}`;
    docker = await startTestDocker({ words: ['-H', `tcp://127.0.0.1:${port}`, '--tlsverify', '--tlscacert', ca, ...own] });
    image = await docker.image('busybox-test');
  });
  after(async () => {
    await docker.stop();
    rmSync(folder, { recursive: true });
  });

  testDriverContract('docker', async (): Promise<DriverHarness> => {
    const fixture = createDriverFixture(docker, image);
    let driver = await fixture.create();
    return {
      get driver() {
        return driver;
      },
      spec: async (key, behaviour) =>
        fixture.spec(key, program(behaviour), behaviour.missingCommand === true ? { argv: ['no-such-command'] } : {}),
      // One agent at a time writes the log of an Instance.
      restart: async () => {
        await driver.close();
        driver = await fixture.create();
        return await fixture.create();
      },
      close: () => fixture.close(),
    };
  });

  test(
    'images come from a registry, by tag and by digest, with a login where it asks for one',
    { skip: lacking('docker-registry') },
    async () => {
      await using fixture = createDriverFixture(docker, image);
      const port = await createPortAllocator({ file: join(fixture.folder, 'ports.json'), clock: systemClock }).allocate('registry');
      const registry = await startTestRegistry(port);
      const [stranger, guest] = [await fixture.create(), await fixture.create({ loginFile: registry.loginFile })];
      const never = new AbortController().signal;
      const fetched = async (driver: Driver, reference: string, signal = never): Promise<void> => driver.fetchImage?.(reference, signal);
      try {
        const byDigest = await registry.push(docker, image, 'team/shop');
        const byTag = `${registry.host}/team/shop:pushed`;
        await assert.rejects(fetched(stranger, byTag, never), { code: 'not_found', hint: /--docker-logins/u });
        for (const reference of [byDigest, byTag]) {
          assert.equal(await docker.engine.image(reference), null);
          await fetched(guest, reference, never);
          const names = (await docker.engine.image(reference))?.names ?? [];
          assert.ok(
            names.some((name) => name.startsWith('libra.local/kept/')),
            'it may be deleted when the disk gets full',
          );
          await docker.forget(reference);
        }
        await assert.rejects(fetched(guest, `${registry.host}/team/shop:other`, never), { code: 'not_found' });
        await assert.rejects(fetched(guest, `${registry.host}/team/shop@sha256:${'0'.repeat(64)}`, never), { code: 'not_found' });
        const end = await fetched(guest, byTag, AbortSignal.abort(new Error('not wanted any more'))).catch((error: unknown) => error);
        assert.ok(end instanceof Error && end.message === 'not wanted any more');
      } finally {
        await registry.stop();
      }
      await assert.rejects(fetched(stranger, `${registry.host}/team/shop:1`, never), { code: 'unreachable' });
      await assert.rejects(fixture.create({ loginFile: registry.loginFile }), { code: 'invalid_input' });
    },
  );

  test('what a container sends, receives and writes is counted, or not told', async () => {
    await using fixture = createDriverFixture(docker, image);
    const driver = await fixture.create();
    const port = await createPortAllocator({ file: join(fixture.folder, 'ports.json'), clock: systemClock }).allocate('served');
    const script = 'dd if=/dev/zero of=/page bs=1024 count=4096 conv=fsync && exec httpd -f -p 8080 -h /';
    const handle = await driver.ensure(fixture.spec('serves.1', script, { port }, { port: 8080 }));
    let body = 0;
    for (const untilMs = systemClock.monotonic() + 30_000; body === 0; await systemClock.sleep(50)) {
      const page = await fetch(`http://127.0.0.1:${port}/page`).catch(() => null);
      if (page?.ok === true) body = (await page.arrayBuffer()).byteLength;
      assert.ok(systemClock.monotonic() < untilMs, 'it does not serve');
    }
    const usage = await driver.usage?.(handle);
    assert.ok(body === 4096 * 1024 && (usage?.network?.sentBytes ?? 0) >= body, JSON.stringify(usage));
    assert.ok((usage?.network?.receivedBytes ?? 0) > 0, JSON.stringify(usage));
    assert.ok((usage?.disk?.writtenBytes ?? body) >= body, JSON.stringify(usage));
  });

  test('when the disk gets full, images that Libra fetched go, the longest unused first, and no others', async () => {
    await using fixture = createDriverFixture(docker, image);
    const driver = await fixture.create();
    const names = ['first', 'second', 'third', 'in-use', 'renamed', 'foreign'];
    for (const name of names) await docker.image(name, undefined, [`ENV NAME=${name}`]);
    let shares: number[] = [];
    const garbage = createImageGarbage({
      engine: docker.engine,
      platform: 'test',
      space: { high: 85, low: 80 },
      usedPercent: async () => shares.shift() ?? 79,
      clock: { ...systemClock, now: () => systemClock.now() + 200_000 },
      log: silentLog,
    });
    const left = async (): Promise<readonly string[]> => {
      const found = await Promise.all(names.map(async (name) => ((await docker.engine.image(name)) === null ? [] : [name])));
      return found.flat();
    };
    for (const name of names.slice(0, 5)) await garbage.took(`${name}:latest`);
    await docker.engine.tagImage('renamed', 'kept-by-somebody', '1');
    const first = await docker.engine.image('first');
    assert.ok(first);
    await garbage.uses('first:latest', first);
    const foreign = await docker.engine.image('foreign');
    assert.ok(foreign);
    await garbage.uses('foreign:latest', foreign);
    await driver.fetchImage?.('foreign:latest', new AbortController().signal);
    await driver.wait(await driver.ensure(fixture.spec('user.1', 'true', {}, { image: 'in-use' })), new AbortController().signal);
    shares = [84];
    await garbage.collect();
    assert.deepEqual(await left(), names, 'there is room');
    shares = [90, 90, 82, 79];
    await garbage.collect();
    assert.deepEqual(await left(), ['first', 'in-use', 'renamed', 'foreign'], 'until there is room again');
    shares = [99, 99, 99, 99, 99, 99, 99, 99];
    await garbage.collect();
    assert.deepEqual(await left(), ['in-use', 'renamed', 'foreign']);
  });

  test('a program that the packages of a folder bring is found in a base image that has no PATH', async () => {
    await using fixture = createDriverFixture(docker, image);
    const driver = await fixture.create();
    const work = join(fixture.folder, 'work');
    const bin = join(work, 'node_modules/.bin');
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, 'greet'), '#!/bin/sh\nexit 7\n', { mode: 0o755 });
    const mounts = [{ source: work, target: work, readOnly: false }];
    const handle = await driver.ensure(fixture.spec('bins.1', '', { argv: ['greet'], env: {} }, { workFolder: work, mounts }));
    const end = await driver.wait(handle, new AbortController().signal);
    assert.ok(end.state === 'exited');
    assert.equal(end.code, 7);
  });

  test('works over TCP with TLS on both sides, and not without the certificate', async () => {
    await using fixture = createDriverFixture(docker, image);
    const driver = await fixture.create({ endpoint: parseEngineEndpoint(url, folder) });
    const handle = await driver.ensure(fixture.spec('far.1', 'echo here; while :; do sleep 1; done'));
    const session = await driver.exec?.(handle, { argv: ['cat'], env: {}, cwd: '/' });
    assert.ok(session);
    await session.write(Buffer.from('over TLS'));
    session.endInput();
    let seen = '';
    for await (const { chunk } of session.output) seen += Buffer.from(chunk).toString('utf8');
    assert.equal(seen, 'over TLS');
    assert.deepEqual(await session.exited, { code: 0, signal: null });
    assert.equal((await driver.stop(handle, { signal: 'SIGTERM', timeoutMs: 0 })).state, 'exited');
    const stranger = createEngine(parseEngineEndpoint(url, null));
    await assert.rejects(stranger.facts()).finally(() => stranger.close());
  });
});

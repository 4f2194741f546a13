// What a container may not do, read from the kernel; and what Docker does to it from outside, told truthfully.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { sized } from '../../../test/full-size.ts';
import { lacking } from '../../../test/requirements.ts';
import { systemClock } from '../../lib/clock.ts';
import { isFailure } from '../../lib/failure.ts';
import type { HostAsk, HostPower } from '../../model/host-powers.ts';
import { until } from '../../sys/keeper-fixture.ts';
import { silentLog } from '../../sys/log.ts';
import { createPortAllocator } from '../../sys/ports.ts';
import type { Driver, DriverHandle, RunSpec, RunState } from '../contract.ts';
import { startTestDocker } from './dockerd-fixture.ts';
import type { TestDocker } from './dockerd-fixture.ts';
import { keysOf, textOf } from './fields.ts';
import { containerName, KEY_LABEL, PLATFORM_LABEL } from './handle.ts';
import { createNetworks } from './networks.ts';
import { findContainer } from './start-container.ts';
import { createDriverFixture } from './driver-fixture.ts';
import type { DriverFixture } from './driver-fixture.ts';

const never = new AbortController().signal;
/** Docker by itself makes about 31: with forty, more are no matter. */
const NETWORKS = sized({ usual: 4, full: 40, setting: 'LIBRA_TEST_NETWORKS' });
const STOP = { signal: 'SIGTERM', timeoutMs: 2000 } as const;

describe('docker', { skip: lacking('dockerd') }, () => {
  let docker: TestDocker;
  let image = '';
  let fixture: DriverFixture;
  let driver: Driver;
  before(async () => {
    docker = await startTestDocker();
    image = await docker.image('busybox-test', (root) => {
      writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nweb:x:1234:77::/:/bin/sh\n');
      writeFileSync(join(root, 'etc/group'), 'root:x:0:\nstaff:x:99:web\n');
    });
  });
  beforeEach(async () => {
    fixture = createDriverFixture(docker, image);
    driver = await fixture.create();
  });
  afterEach(() => fixture.close());
  after(() => docker.stop());

  const linesOf = async (spec: RunSpec): Promise<string[]> => {
    const lines: string[] = [];
    for await (const { text } of driver.logs(spec.logFolder, { follow: false, signal: never })) lines.push(text);
    return lines;
  };
  /** Runs a script to its end. */
  const run = async (spec: RunSpec): Promise<{ readonly end: RunState; readonly lines: readonly string[] }> => {
    const end = await driver.wait(await driver.ensure(spec), never);
    return { end, lines: await linesOf(spec) };
  };
  const pidOf = async (handle: DriverHandle): Promise<number> => {
    const state = await driver.inspect(handle);
    assert.ok(state.state === 'running' && state.pid !== null);
    return state.pid;
  };
  const freePort = (): Promise<number> =>
    createPortAllocator({ file: join(fixture.folder, 'ports.json'), clock: systemClock }).allocate('test');

  test('no capability, no new privileges, an init, and limits of cpu, memory and processes', async () => {
    const files = ['cpu/cpu.cfs_quota_us', 'cpu/cpu.cfs_period_us', 'memory/memory.limit_in_bytes', 'pids/pids.max'];
    const v2 = ['cpu.max', 'memory.max', 'pids.max'];
    const script = [
      'cat /proc/self/status /proc/1/comm',
      ...[...files, ...v2].map((file) => `[ -e /sys/fs/cgroup/${file} ] && echo ${file} $(cat /sys/fs/cgroup/${file})`),
      'exit 0',
    ].join('\n');
    const { lines } = await run(
      fixture.spec('confined.1', script, {
        resources: { ...fixture.spec('x.1', '').resources, cpu: { request: 0.1, limit: 0.5, bind: false } },
      }),
    );
    const text = lines.join('\n');
    assert.match(text, /^CapEff:\s+0+$/mu);
    assert.match(text, /^CapBnd:\s+0+$/mu);
    assert.match(text, /^NoNewPrivs:\s+1$/mu);
    assert.match(text, /^Seccomp:\s+2$/mu);
    assert.match(text, /^(?:docker-init|tini)$/mu);
    assert.match(text, /cfs_quota_us 50000\n.*cfs_period_us 100000|cpu\.max 50000 100000/u);
    assert.match(text, /memory\S* 67108864/u);
    assert.match(text, /pids\S* 4096/u);
  });

  test('what an App asks of its container it gets, and no more', async () => {
    const script = [
      'cat /proc/self/status',
      'echo files $(ulimit -n) $(ulimit -Hn) core $(ulimit -c)',
      'echo backlog $(cat /proc/sys/net/core/somaxconn) segments $(cat /proc/sys/kernel/shmmax)',
      'touch /bin/x 2>/dev/null && echo open || echo closed',
      'echo kept > /tmp/file && cat /tmp/file',
      'grep -E " /tmp | /dev/shm " /proc/mounts',
    ].join('\n');
    const options = {
      readOnly: true,
      capabilities: ['CHOWN', 'SETUID'],
      ulimits: { nofile: { soft: 512, hard: 1024 }, core: { soft: 0, hard: 0 } },
      sysctls: { 'net.core.somaxconn': '321', 'kernel.shmmax': '1048576' },
      sharedMemoryBytes: 8 * 1024 * 1024,
    };
    const { lines } = await run(fixture.spec('asking.1', script, {}, { options }));
    const text = lines.join('\n');
    // CHOWN is bit 0, SETUID bit 7.
    assert.match(text, /^CapEff:\s+0+81$/mu);
    assert.match(text, /^CapBnd:\s+0+81$/mu);
    assert.match(text, /^NoNewPrivs:\s+1$/mu);
    assert.match(text, /^files 512 1024 core 0$/mu);
    assert.match(text, /^backlog 321 segments 1048576$/mu);
    assert.match(text, /^closed\nkept$/mu);
    assert.match(text, /^tmpfs \/tmp tmpfs rw,nosuid,nodev,.*size=65536k/mu);
    assert.match(text, /^shm \/dev\/shm tmpfs .*noexec.*size=8192k/mu);
  });

  describe('of its machine', () => {
    let place = '';
    beforeEach(() => {
      place = realpathSync(mkdtempSync(join(tmpdir(), 'libra-place-')));
      for (const name of ['media', 'secret']) mkdirSync(join(place, name), { mode: 0o755 });
      writeFileSync(join(place, 'secret/file'), 'nobody’s business\n');
      writeFileSync(join(place, 'media/file'), 'a film\n');
    });
    afterEach(() => rmSync(place, { recursive: true, force: true }));
    const nothing: HostAsk = { privileged: false, network: false, devices: [], folders: [] };
    const asking = (key: string, script: string, ask: Partial<HostAsk>, granted: readonly HostPower[]): RunSpec => {
      const options = {
        readOnly: false,
        capabilities: [],
        ulimits: {},
        sysctls: {},
        sharedMemoryBytes: null,
        host: { ...nothing, ...ask },
      };
      return fixture.spec(key, script, {}, { options, granted });
    };

    test('folders and devices that were granted, and nothing else', async () => {
      const folders = [
        { path: join(place, 'media'), target: '/media', readOnly: true },
        { path: join(place, 'media'), target: '/films', readOnly: false },
      ];
      const script = [
        'cat /media/file',
        'touch /media/x 2>/dev/null || echo closed',
        'echo new > /films/new',
        ': > /dev/messages && echo opened',
        'grep CapEff /proc/self/status',
      ].join('\n');
      // Asked for by a link, as devices have stable names.
      const link = join(place, 'messages');
      symlinkSync('/dev/kmsg', link);
      const granted: readonly HostPower[] = [
        { kind: 'folder', path: place, readOnly: false },
        { kind: 'device', path: '/dev/kmsg' },
      ];
      const { lines } = await run(asking('granted.1', script.replace('/dev/messages', link), { folders, devices: [link] }, granted));
      assert.deepEqual(lines, ['a film', 'closed', 'opened', 'CapEff:\t0000000000000000']);
      assert.equal(readFileSync(join(place, 'media/new'), 'utf8'), 'new\n');
      // The folder is the machine's: its owner stays.
      assert.equal(statSync(join(place, 'media')).uid, process.getuid?.());
      const refused = driver.ensure(asking('denied.1', 'true', { folders }, [{ kind: 'folder', path: place, readOnly: true }]));
      await assert.rejects(refused, (error) => isFailure(error, 'start_failed') && error.details?.['reason'] === 'not_allowed');
      assert.deepEqual(await docker.engine.listContainers(['libra.key=denied.1']), []);
    });

    test('one that was made, and not started, before librad was killed is made anew by what counts now', async () => {
      const platform = createHash('sha256').update(fixture.folder).digest('hex').slice(0, 12);
      const before = await docker.engine.createContainer(containerName(platform, 'halfway.1'), {
        Image: image,
        Cmd: ['cat', '/media/file'],
        Labels: { [PLATFORM_LABEL]: platform, [KEY_LABEL]: 'halfway.1' },
        HostConfig: { Mounts: [{ Type: 'bind', Source: join(place, 'secret'), Target: '/media' }] },
      });
      const folders = [{ path: join(place, 'media'), target: '/media', readOnly: true }];
      const granted: readonly HostPower[] = [{ kind: 'folder', path: join(place, 'media'), readOnly: true }];
      const { lines } = await run(asking('halfway.1', 'cat /media/file', { folders }, granted));
      assert.deepEqual(lines, ['a film']);
      assert.equal(await findContainer(docker.engine, before), null);
    });

    test('its network where that was granted', async () => {
      const network = await run(
        asking('network.1', 'cat /proc/net/dev; grep CapEff /proc/self/status', { network: true }, [{ kind: 'network' }]),
      );
      const text = network.lines.join('\n');
      for (const name of Object.keys(networkInterfaces())) assert.ok(text.includes(`${name}:`), name);
      assert.match(text, /CapEff:\t0+$/u);
    });

    test('a container cannot have another one mount what it puts in the place of a folder', async () => {
      mkdirSync(join(place, 'media/shop'));
      const granted: readonly HostPower[] = [{ kind: 'folder', path: join(place, 'media'), readOnly: false }];
      const folders = [{ path: join(place, 'media'), target: '/media', readOnly: false }];
      const swapping = `cd /media; echo begun; while :; do rmdir shop; ln -s ${join(place, 'secret')} shop; rm shop; mkdir shop; done`;
      const swapper = asking('swapper.1', swapping, { folders }, granted);
      const handle = await driver.ensure(swapper);
      await until('it swaps', async () => (await linesOf(swapper)).includes('begun'));
      const reasons = new Set<string>();
      for (let attempt = 1; attempt <= 10; attempt += 1) {
        const wanted = [{ path: join(place, 'media/shop'), target: '/shop', readOnly: true }];
        const spec = asking(`victim.${attempt}`, 'cat /shop/file', { folders: wanted }, granted);
        await assert.rejects(driver.ensure(spec), (error) => {
          assert.ok(isFailure(error, 'start_failed'), String(error));
          reasons.add(error.message.replaceAll(place, ''));
          return error.details?.['reason'] === 'not_allowed';
        });
      }
      for (const reason of reasons) assert.match(reason, /can write to|no administrator has granted|cannot be used|neither a folder/u);
      await driver.stop(handle, { ...STOP, timeoutMs: 0 });
      rmSync(join(place, 'media/shop'), { recursive: true, force: true });
      mkdirSync(join(place, 'media/shop'));
      const wanted = [{ path: join(place, 'media/shop'), target: '/shop', readOnly: true }];
      const after = await run(asking('victim.11', 'ls /shop; echo alone', { folders: wanted }, granted));
      assert.deepEqual(after.lines, ['alone']);
    });
  });

  test('a setting that the kernel lacks is told as what it is', async () => {
    const options = { readOnly: false, capabilities: [], ulimits: {}, sysctls: { 'net.core.no_such': '1' }, sharedMemoryBytes: null };
    await assert.rejects(driver.ensure(fixture.spec('lacking.1', 'true', {}, { options })), (error) => {
      assert.ok(isFailure(error, 'start_failed'));
      assert.equal(error.details?.['reason'], 'driver_error');
      assert.match(error.message, /\/proc\/sys\/net\/core\/no_such/u);
      assert.match(error.hint ?? '', /sysctls/u);
      return true;
    });
  });

  test('a program that needs more memory than its limit has run out of memory', async () => {
    const script = 'x=$(yes 0123456789012345678901234567890 | head -c 200000000); echo unreached';
    const { end, lines } = await run(fixture.spec('greedy.1', script));
    assert.ok(end.state === 'exited');
    assert.deepEqual([end.outOfMemory, lines.includes('unreached')], [true, false]);
  });

  test('keeps to its cores, from the start and when it is told later', async () => {
    const handle = await driver.ensure(fixture.spec('bound.1', 'while :; do sleep 1; done', { cores: [1] }));
    const allowed = (pid: number): string => /^Cpus_allowed_list:\s+(.*)$/mu.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
    const pid = await pidOf(handle);
    assert.equal(allowed(pid), '1');
    await driver.confine?.(handle, [0]);
    assert.equal(allowed(pid), '0');
    await driver.stop(handle, STOP);
  });

  test('its port is reached on loopback alone, through another port of the machine', async () => {
    const port = await freePort();
    const spec = fixture.spec(
      'web.1',
      'mkdir /tmp/www; echo hello > /tmp/www/index.html; httpd -f -p 8080 -h /tmp/www',
      { port },
      { port: 8080 },
    );
    const handle = await driver.ensure(spec);
    const text = await until('it answers', async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } }).catch(() => null);
      return answer === null ? null : await answer.text();
    });
    assert.equal(text, 'hello\n');
    assert.equal(await driver.diagnose?.(handle, spec), null);
    const others = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .filter(({ family, internal }) => family === 'IPv4' && !internal);
    for (const { address } of others) {
      const refused = new Promise<string>((resolve) => {
        const socket = connect({ host: address, port, timeout: 2000 });
        socket.once('connect', () => resolve('connected'));
        socket.once('error', () => resolve('refused'));
        socket.once('timeout', () => resolve('timeout'));
      });
      assert.notEqual(await refused, 'connected', address);
    }
    await driver.stop(handle, STOP);
  });

  test('what keeps it from being reached is told: another port, the wrong address, none', async () => {
    const found = new Map<string, string | undefined>();
    for (const [key, script] of Object.entries({
      'elsewhere.1': 'httpd -f -p 9000 -h /tmp',
      'inside.1': 'httpd -f -p 127.0.0.1:8080 -h /tmp',
      'mute.1': 'while :; do sleep 1; done',
    })) {
      const spec = fixture.spec(key, script, { port: await freePort() }, { port: 8080 });
      const handle = await driver.ensure(spec);
      const wanted = key === 'mute.1' ? 'never_listened' : 'wrong';
      const code = await until(key, async () => {
        const seen = await driver.diagnose?.(handle, spec);
        return seen?.code.startsWith(wanted) === true ? seen.code : null;
      });
      found.set(key, code);
      await driver.stop(handle, { ...STOP, timeoutMs: 0 });
    }
    assert.deepEqual([...found.values()], ['wrong_port', 'wrong_address', 'never_listened']);
  });

  test('a command runs beside the program, with input, output, code, and an end on demand', async () => {
    const handle = await driver.ensure(fixture.spec('host.1', 'while :; do sleep 1; done', { env: { PATH: '/bin', COLOUR: 'blue' } }));
    const exec = async (argv: readonly string[]): Promise<NonNullable<Awaited<ReturnType<NonNullable<Driver['exec']>>>>> => {
      assert.ok(driver.exec);
      return driver.exec(handle, { argv, env: {}, cwd: '/' });
    };
    const session = await exec(['sh', '-c', 'cat; echo $COLOUR; echo oops >&2; exit 5']);
    await session.write(Buffer.from('typed\n'));
    session.endInput();
    const seen = { stdout: '', stderr: '' };
    for await (const { stream, chunk } of session.output) seen[stream] += Buffer.from(chunk).toString('utf8');
    assert.deepEqual(seen, { stdout: 'typed\nblue\n', stderr: 'oops\n' });
    assert.deepEqual(await session.exited, { code: 5, signal: null });
    const endless = await exec(['sleep', '987654']);
    endless.kill();
    assert.equal((await endless.exited).code, 137);
    const usage = await driver.usage?.(handle);
    assert.ok(usage !== undefined && usage.processes >= 2 && usage.memoryBytes > 0);
    await driver.stop(handle, STOP);
  });

  test('what is mounted belongs to the user of the image, whom the image may name', async () => {
    const named = await docker.image(
      'busybox-named',
      (root) => {
        for (const [file, text] of [
          ['passwd', 'web:x:1234:77::/:/bin/sh\n'],
          ['group', 'staff:x:99:web\n'],
        ] as const)
          writeFileSync(join(root, 'etc', file), text);
      },
      ['USER web:staff', 'WORKDIR /srv'],
    );
    const source = join(fixture.folder, 'volume');
    mkdirSync(source, { mode: 0o700 });
    const spec = fixture.spec(
      'owner.1',
      'id -u; id -g; echo kept > /srv/data/file; touch /bin/x 2>/dev/null || echo closed',
      {},
      {
        image: named,
        mounts: [{ source, target: 'data', readOnly: false }],
      },
    );
    const { lines } = await run(spec);
    assert.deepEqual(lines, ['1234', '99', 'closed']);
    assert.equal(readFileSync(join(source, 'file'), 'utf8'), 'kept\n');
    assert.deepEqual([statSync(source).uid, statSync(source).gid], [1234, 99]);
  });

  test(`${NETWORKS} networks are made, and none of them stays`, async () => {
    const networks = createNetworks({
      engine: docker.engine,
      platform: 'many',
      pool: '10.246.0.0/16',
      clock: systemClock,
      log: silentLog,
    });
    const names = new Set<string>();
    for (let index = 0; index < NETWORKS; index += 1) names.add(await networks.using(`app/env${index}`, async ({ name }) => name));
    const ours = async (): Promise<number> => (await docker.engine.networks()).filter(({ name }) => names.has(name)).length;
    assert.equal(await ours(), NETWORKS);
    await networks.pruneNow();
    assert.equal(await ours(), 0);
  });

  test('two Apps do not reach each other, two containers of one do', async () => {
    const serve = 'httpd -f -p 8080 -h /etc';
    const server = await driver.ensure(fixture.spec('server.1', serve, {}, { group: 'a/production' }));
    const seen = await docker.engine.inspectContainer(String(server['container']));
    const [network = ''] = keysOf(seen, 'NetworkSettings', 'Networks');
    const ip = textOf(seen, 'NetworkSettings', 'Networks', network, 'IPAddress');
    const ask = `printf 'GET /group HTTP/1.0\\r\\n\\r\\n' | nc -w 2 ${ip} 8080 2>/dev/null | grep -q staff && echo reached || echo cut off`;
    const same = await run(fixture.spec('same.1', ask, {}, { group: 'a/production' }));
    const other = await run(fixture.spec('other.1', ask, {}, { group: 'b/production' }));
    assert.deepEqual([same.lines.at(-1), other.lines.at(-1)], ['reached', 'cut off']);
    await driver.stop(server, STOP);
  });

  test('images that were built here go when no container uses them, others stay', async () => {
    const [used, unused] = [
      await docker.image('used', undefined, ['LABEL libra.built=true']),
      await docker.image('unused', undefined, ['LABEL libra.built=true', 'ENV A=1']),
    ];
    const handle = await driver.ensure(fixture.spec('user.1', 'while :; do sleep 1; done', {}, { image: used }));
    await driver.collect?.();
    assert.ok(await docker.engine.image(unused), 'it is young');
    const impatient = await fixture.create({ keepBuiltS: 0 });
    // The engine counts whole seconds.
    await until('the unused one goes', async () => {
      await impatient.collect?.();
      return (await docker.engine.image(unused)) === null;
    });
    const left = await Promise.all([used, unused, image].map((name) => docker.engine.image(name)));
    assert.deepEqual(
      left.map((each) => each !== null),
      [true, false, true],
    );
    await driver.stop(handle, { ...STOP, timeoutMs: 0 });
  });

  test('a command gets a terminal of the size that is asked for, and is told when that changes', async () => {
    const handle = await driver.ensure(fixture.spec('terminal.1', 'while :; do sleep 1; done'));
    const session = await driver.exec?.(handle, {
      argv: ['sh'],
      env: { PATH: '/bin', PS1: '' },
      cwd: '/',
      terminal: { columns: 91, rows: 37 },
    });
    assert.ok(session?.resize);
    let seen = '';
    const reading = (async (): Promise<void> => {
      for await (const { chunk } of session.output) seen += Buffer.from(chunk).toString('utf8');
    })();
    const ask = async (wanted: string): Promise<void> => {
      await until(wanted, async () => {
        await session.write(Buffer.from('stty size\n'));
        return seen.includes(`\n${wanted}\r\n`);
      });
    };
    await ask('37 91');
    await session.resize({ columns: 120, rows: 40 });
    await ask('40 120');
    await session.write(Buffer.from('echo $TERM; exit 6\n'));
    assert.deepEqual(await session.exited, { code: 6, signal: null });
    await reading;
    assert.match(seen, /xterm-256color/u);
    await driver.stop(handle, { ...STOP, timeoutMs: 0 });
  });
});

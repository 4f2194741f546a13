import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceTrouble, folderTrouble, hostPowerText, isGranted, parseHostPower, powersAsked } from './host-powers.ts';
import type { HostPower } from './host-powers.ts';
import { formatProblem, parseManifest } from './manifest.ts';

const powersOf = (...texts: readonly string[]): readonly HostPower[] =>
  texts.map((text) => {
    const power = parseHostPower(text);
    if (typeof power === 'string') throw new Error(power);
    return power;
  });

test('a power is told as it is written', () => {
  for (const text of ['privileged', 'network', 'device:/dev/ttyUSB0', 'folder:/srv/media', 'folder:/srv/media:ro', 'folder:/srv/a:b'])
    assert.deepEqual(powersOf(text).map(hostPowerText), [text]);
});

test('what is no power, or leads back, or is the kernel’s, is refused with the reason', () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['root', /none of privileged/u],
    ['folder:srv', /no absolute path/u],
    ['folder:/', /no absolute path/u],
    ['folder:/srv/', /no absolute path/u],
    ['folder:/srv//a', /no absolute path/u],
    ['folder:/srv/a\0', /no absolute path/u],
    ['folder:/srv/../etc', /may not lead back/u],
    ['folder:/srv/.', /may not lead back/u],
    ['folder:/proc', /the kernel's/u],
    ['folder:/proc/self/root/srv', /the kernel's/u],
    ['folder:/sys/fs:ro', /the kernel's/u],
    ['folder:/dev/shm', /the kernel's/u],
    ['device:/dev', /is no device/u],
    ['device:/etc/passwd', /is no device/u],
    ['device:/dev/../etc', /may not lead back/u],
  ];
  for (const [text, message] of wrong) {
    const power = parseHostPower(text);
    assert.ok(typeof power === 'string', text);
    assert.match(power, message);
  }
  assert.deepEqual([folderTrouble('/srv'), folderTrouble('/process'), deviceTrouble('/dev/snd/x')], [null, null, null]);
});

test('a granted path stands for all below it and for nothing beside it; to read is less than to write', () => {
  const granted = powersOf('folder:/srv/media', 'folder:/etc/shop:ro', 'device:/dev/snd');
  const covered = (text: string): boolean => powersOf(text).every((power) => isGranted(granted, power));
  const yes = ['folder:/srv/media', 'folder:/srv/media/a/b', 'folder:/srv/media:ro', 'folder:/etc/shop:ro', 'device:/dev/snd/controlC0'];
  const no = ['folder:/srv', 'folder:/srv/media2', 'folder:/etc/shop', 'device:/dev/sndx', 'device:/dev/sda', 'privileged', 'network'];
  assert.deepEqual(
    yes.filter((text) => !covered(text)),
    [],
  );
  assert.deepEqual(no.filter(covered), []);
  assert.ok(isGranted(powersOf('privileged'), { kind: 'privileged' }) && !isGranted(powersOf('privileged'), { kind: 'network' }));
});

const file = (host: string): string =>
  `app: shop\nbuild: { image: nginx }\nentrypoints:\n  web:\n    volumes: [{ name: data, path: /data }]\n    container: { sysctls: { net.core.somaxconn: 1 }, host: ${host} }\n`;

test('a manifest asks for them, and every mistake is told at its place', () => {
  const { manifest } = parseManifest(
    file(
      '{ privileged: true, devices: [/dev/fuse, /dev/fuse], folders: [{ path: /srv/media/, target: /media, readOnly: true }, { path: /opt/x }] }',
    ),
  );
  const host = manifest?.entrypoints['web']?.container?.host;
  assert.ok(host);
  assert.deepEqual(host.folders, [
    { path: '/srv/media', target: '/media', readOnly: true },
    { path: '/opt/x', target: '/opt/x', readOnly: false },
  ]);
  assert.deepEqual(powersAsked(host).map(hostPowerText), ['privileged', 'device:/dev/fuse', 'folder:/srv/media:ro', 'folder:/opt/x']);
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['{ folders: [{ path: /srv/../etc }] }', /^f:6:\d+: entrypoints\.web\.container\.host\.folders\.0\.path: .*may not lead back/u],
    ['{ folders: [{ path: /proc/1/root }] }', /the kernel's/u],
    ['{ folders: [{ path: / }] }', /no absolute path/u],
    ['{ folders: [{ path: /a, target: /x }, { path: /b, target: /x }] }', /folders\.1\.target: something else is at \/x already/u],
    ['{ folders: [{ path: /x }, { path: /b, target: /x }] }', /folders\.1\.target: something else is at \/x already/u],
    ['{ folders: [{ path: /b, target: /data }] }', /folders\.0\.target: something else is at \/data already/u],
    ['{ devices: [/etc/shadow] }', /is no device/u],
    ['{ pid: true }', /unknown key/u],
    ['{ network: true }', /^f:6:29: .*net\.core\.somaxconn: is the machine’s own/u],
  ];
  for (const [text, message] of wrong) {
    const { problems } = parseManifest(file(text), 'f');
    assert.equal(problems.length, 1, text);
    assert.match(problems.map(formatProblem)[0] ?? '', message);
  }
});

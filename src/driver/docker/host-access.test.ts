// Paths of the machine as hostile Apps would have them lead elsewhere. Needs no Docker: what it would mount is decided here.

import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { isFailure } from '../../lib/failure.ts';
import { parseHostPower } from '../../model/host-powers.ts';
import type { HostAsk } from '../../model/host-powers.ts';
import { resolveHost } from './host-access.ts';
import type { HostAccess, HostFacts } from './host-access.ts';

describe('what of the machine a container gets', () => {
  let root = '';
  beforeEach(() => {
    root = realpathSync(mkdtempSync(join(tmpdir(), 'libra-host-')));
    for (const folder of ['media/photos', 'media2', 'secret', 'own/node']) mkdirSync(join(root, folder), { recursive: true, mode: 0o755 });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const at = (path: string): string => join(root, path);
  const facts = (granted: readonly string[], more: Partial<HostFacts> = {}): HostFacts => ({
    granted: granted.map((text) => {
      const power = parseHostPower(text);
      if (typeof power === 'string') throw new Error(power);
      return power;
    }),
    own: [at('own')],
    writable: [],
    ...more,
  });
  const nothing: HostAsk = { privileged: false, network: false, devices: [], folders: [] };
  const folder = (path: string, known: HostFacts, readOnly = false): Promise<HostAccess> =>
    resolveHost({ ...nothing, folders: [{ path, target: '/inside', readOnly }] }, known);
  const refused = async (going: Promise<unknown>, message: RegExp): Promise<void> => {
    await assert.rejects(going, (error) => {
      assert.ok(isFailure(error, 'start_failed'), String(error));
      assert.equal(error.details?.['reason'], 'not_allowed');
      assert.match(error.message, message);
      return true;
    });
  };
  const media = (): HostFacts => facts([`folder:${at('media')}`]);

  test('a granted folder and what lies in it, through links that stay in it', async () => {
    symlinkSync('photos', at('media/latest'));
    symlinkSync(at('media'), at('alias'));
    for (const path of ['media', 'media/photos', 'media/latest', 'alias/latest']) {
      const access = await folder(at(path), media());
      const source = realpathSync(at(path));
      assert.deepEqual(access, { ...nothing, folders: [{ source, target: '/inside', readOnly: false }] });
    }
  });

  test('a link that leads out, a neighbour of like name, and writing where reading was granted are refused', async () => {
    symlinkSync(at('secret'), at('media/out'));
    symlinkSync('../../secret', at('media/photos/up'));
    symlinkSync('/', at('media/all'));
    symlinkSync('/proc/self/root', at('media/kernel'));
    await refused(
      folder(at('media/out'), media()),
      new RegExp(`asks for ${at('secret')} of its machine, which no administrator .*media/out leads there`, 'u'),
    );
    await refused(folder(at('media/photos/up'), media()), /secret/u);
    await refused(folder(at('media/all/etc'), media()), /asks for \/etc of its machine/u);
    await refused(folder(at('media/kernel/etc'), media()), /asks for \/etc of its machine/u);
    await refused(folder(at('media2'), media()), /media2/u);
    await refused(folder(at('media/photos'), facts([`folder:${at('media')}:ro`])), /no administrator/u);
    await refused(folder(at('media/photos/../../secret'), media()), /secret/u);
    await folder(at('media/photos'), facts([`folder:${at('media')}:ro`]), true);
  });

  test('the kernel’s, librad’s own, the socket of an engine, and what holds one of them are refused whatever was granted', async () => {
    const all = facts([`folder:${root}`, 'folder:/run']);
    symlinkSync('/proc', at('media/proc'));
    symlinkSync('/sys/fs', at('media/sys'));
    symlinkSync('/dev', at('media/dev'));
    for (const name of ['proc', 'sys', 'dev']) await refused(folder(at(`media/${name}`), all), /which is the kernel's/u);
    symlinkSync(at('own/node'), at('media/node'));
    await refused(folder(at('media/node'), all), /would give away .*own/u);
    await refused(folder(root, all), /would give away .*own/u);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(at('media/docker.sock'), resolve));
    try {
      await refused(folder(at('media/docker.sock'), all), /neither a folder nor a file/u);
      const known = { ...all, own: [at('media/docker.sock')] };
      await refused(folder(at('media/docker.sock'), known), /would give away .*docker\.sock/u);
      await refused(folder(at('media'), known), /would give away .*docker\.sock/u);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    await refused(folder(at('nowhere'), all), /cannot be used on this Node: ENOENT/u);
  });

  test('what somebody could replace before Docker mounts it is refused', async () => {
    await folder(at('media/photos'), media());
    // A container that runs may write to it: only the folder itself cannot be swapped from inside.
    const writable = { ...media(), writable: [at('media')] };
    await refused(folder(at('media/photos'), writable), /a container that runs here can write to .*media, and so replace it/u);
    await folder(at('media'), writable);
    chmodSync(at('media'), 0o777);
    await refused(folder(at('media/photos'), media()), /others than root can replace what lies in .*media/u);
    // As in /tmp: what root owns there nobody else can replace.
    chmodSync(at('media'), 0o1777);
    await folder(at('media/photos'), media());
  });

  test('a single file may be given', async () => {
    writeFileSync(at('media/list'), 'x');
    const { folders } = await folder(at('media/list'), media(), true);
    assert.deepEqual(folders, [{ source: at('media/list'), target: '/inside', readOnly: true }]);
  });

  test('a device is given by where it leads, and only a device', async () => {
    symlinkSync('/dev/null', at('link'));
    const ask = (path: string): HostAsk => ({ ...nothing, devices: [path] });
    const access = await resolveHost(ask(at('link')), facts(['device:/dev/null']));
    assert.deepEqual(access.devices, [{ path: '/dev/null', target: at('link') }]);
    await refused(
      resolveHost(ask(at('link')), facts(['device:/dev/zero'])),
      /the device \/dev\/null of its machine, which no administrator/u,
    );
    await refused(resolveHost(ask('/dev/shm'), facts(['device:/dev/shm'])), /is no device/u);
    symlinkSync(at('secret'), at('fake'));
    await refused(resolveHost(ask(at('fake')), facts(['device:/dev/null'])), /no administrator/u);
  });

  test('all powers and the network are two things', async () => {
    const ask = { ...nothing, privileged: true, network: true };
    await refused(resolveHost(ask, facts(['privileged'])), /the network of its machine/u);
    await refused(resolveHost(ask, facts(['network'])), /privileged/u);
    assert.deepEqual(await resolveHost(ask, facts(['network', 'privileged'])), { ...nothing, privileged: true, network: true });
  });
});

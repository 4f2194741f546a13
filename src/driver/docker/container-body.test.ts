import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunSpec } from '../contract.ts';
import { containerBody } from './container-body.ts';
import { fieldOf } from './fields.ts';
import { NO_ACCESS } from './host-access.ts';
import type { HostAccess } from './host-access.ts';

const MEBIBYTE = 1024 * 1024;

/** HostConfig of a container that listens on 8080. */
function hostConfig(access: HostAccess): unknown {
  const part = { image: 'shop', address: '10.0.0.2', group: 'shop/production', port: 8080, workFolder: null, mounts: [] };
  const spec: RunSpec = {
    key: 'a.1',
    instanceId: 'a',
    appId: 'app',
    artifact: { kind: 'image', reference: 'shop' },
    argv: [],
    env: {},
    workFolder: '/work',
    logFolder: '/logs',
    logBytes: MEBIBYTE,
    port: 20_000,
    resources: {
      cpu: { request: 0.5, limit: 1, bind: false },
      memory: { requestBytes: MEBIBYTE, limitBytes: MEBIBYTE },
      diskBytes: MEBIBYTE,
    },
    cores: null,
    service: true,
    container: part,
  };
  const image = { id: 'sha256:1', user: '', workingFolder: '/', path: null, digests: [], names: [], namedAtMs: 0 };
  return fieldOf(
    containerBody({ spec, part, image, platform: 'p', access, network: { name: 'own', gateway: '10.0.0.1' }, user: null, cpus: null }),
    'HostConfig',
  );
}

const KEYS = ['Privileged', 'CapDrop', 'SecurityOpt', 'NetworkMode', 'PortBindings', 'Devices'];
const told = (access: HostAccess): readonly unknown[] => KEYS.map((key) => fieldOf(hostConfig(access), key));

test('by itself a container has no power over its machine', () => {
  const ports = { '8080/tcp': [{ HostIp: '10.0.0.2', HostPort: '20000' }] };
  assert.deepEqual(told(NO_ACCESS), [false, ['ALL'], ['no-new-privileges'], 'own', ports, []]);
});

test('all powers, and the network of the machine, where its ports are its own', () => {
  const access = { ...NO_ACCESS, privileged: true, network: true, devices: [{ path: '/dev/ttyUSB0', target: '/dev/serial/by-id/x' }] };
  const devices = [{ PathOnHost: '/dev/ttyUSB0', PathInContainer: '/dev/serial/by-id/x', CgroupPermissions: 'rw' }];
  assert.deepEqual(told(access), [true, undefined, undefined, 'host', undefined, devices]);
});

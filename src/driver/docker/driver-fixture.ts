// Docker drivers for tests, with specs for containers of busybox.

import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ContainerPart, Driver, RunSpec } from '../contract.ts';
import type { TestDocker } from './dockerd-fixture.ts';
import { createDockerDriver } from './driver.ts';
import type { DockerDriverOptions } from './driver.ts';

const MEBIBYTE = 1024 * 1024;

/** Leaving its scope closes it, also where a test fails: drivers that nobody closes keep their process. */
export interface DriverFixture extends AsyncDisposable {
  readonly folder: string;
  /** A driver as a new agent would make it. */
  create(more?: Partial<DockerDriverOptions>): Promise<Driver>;
  spec(key: string, script: string, more?: Partial<RunSpec>, container?: Partial<ContainerPart>): RunSpec;
  /** Closes all its drivers and deletes their containers. */
  close(): Promise<void>;
}

/** @param image of busybox. Platforms on one engine differ in their folders. */
export function createDriverFixture(docker: TestDocker, image: string, subnets = '10.247.0.0/16'): DriverFixture {
  const folder = mkdtempSync(join(tmpdir(), 'libra-docker-'));
  chmodSync(folder, 0o711);
  const drivers: Driver[] = [];
  const create = async (more: Partial<DockerDriverOptions> = {}): Promise<Driver> => {
    const driver = await createDockerDriver({ endpoint: { kind: 'unix', path: docker.socketPath }, dataFolder: folder, subnets, ...more });
    drivers.push(driver);
    return driver;
  };
  const close = async (): Promise<void> => {
    try {
      // Those of the test may be closed.
      await (await create()).sweep(new Set());
    } finally {
      await Promise.all(drivers.splice(0).map((driver) => driver.close()));
      rmSync(folder, { recursive: true, force: true });
    }
  };
  return {
    folder,
    create,
    spec: (key, script, more = {}, container = {}) => {
      const logFolder = join(folder, 'logs', key);
      mkdirSync(logFolder, { recursive: true });
      return {
        key,
        instanceId: key.split('.')[0] ?? key,
        appId: 'app',
        artifact: { kind: 'image', reference: image },
        argv: ['sh', '-c', script],
        env: { PATH: '/bin' },
        workFolder: join(folder, 'work'),
        logFolder,
        logBytes: MEBIBYTE,
        port: null,
        resources: {
          cpu: { request: 0.5, limit: 1, bind: false },
          memory: { requestBytes: 64 * MEBIBYTE, limitBytes: 64 * MEBIBYTE },
          diskBytes: 1024 * MEBIBYTE,
        },
        cores: null,
        service: true,
        ...more,
        container: { image, address: '127.0.0.1', group: 'app/production', port: null, workFolder: null, mounts: [], ...container },
      };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

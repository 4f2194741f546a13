// The drivers that come with Libra, by name. Loaded only when a Node runs them, because code that idles costs memory.

import type { FakeDriver, FakeDriverOptions } from './fake.ts';
import type { Driver } from './contract.ts';
import type { DockerDriverOptions } from './docker/driver.ts';
import type { ProcessDriver, ProcessDriverOptions } from './process/driver.ts';

export const BUILTIN_DRIVERS = {
  process: async (options: ProcessDriverOptions): Promise<ProcessDriver> =>
    (await import('./process/driver.ts')).createProcessDriver(options),
  docker: async (options: DockerDriverOptions): Promise<Driver> => (await import('./docker/driver.ts')).createDockerDriver(options),
  fake: async (options: FakeDriverOptions): Promise<FakeDriver> => (await import('./fake.ts')).createFakeDriver(options),
} as const;

// The machine that `libra dev` runs on, as the command line knows it.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Laptop, LocalForwarder } from '../cli/laptop.ts';
import type { Surroundings } from '../config.ts';
import type { Forwarder } from '../dev/forwarder.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { staticServerFile } from './program.ts';

export function createLaptop({ env }: Surroundings): Laptop {
  const user = nameOfUser();
  const forwarders = new WeakMap<LocalForwarder, Forwarder>();
  return {
    user,
    from: `${user}@${hostname()}`.slice(0, 100),
    freePort: () =>
      new Promise((resolve, reject) => {
        const server = net.createServer();
        server.once('error', reject);
        server.listen(0, '127.0.0.1', () => {
          const address = server.address();
          server.close(() => (address === null || typeof address === 'string' ? reject(new Error('no port')) : resolve(address.port)));
        });
      }),
    forward: async () => {
      const { startForwarder } = await import('../dev/forwarder.ts');
      const folder = await mkdtemp(join(tmpdir(), 'libra-dev-'));
      const identityFile = join(folder, 'identity');
      await writeFile(identityFile, 'libra-dev', { mode: 0o600 });
      const forwarder = await startForwarder(systemClock);
      const local = {
        port: forwarder.port,
        identityFile,
        stop: async () => {
          forwarder.stop();
          await rm(folder, { recursive: true, force: true });
        },
      };
      forwarders.set(local, forwarder);
      return local;
    },
    connect: async ({ gateway, credential, forwarder, ...options }) => {
      const [{ runLaptop }, { proxyFor }] = await Promise.all([import('../dev/laptop.ts'), import('../dev/proxy-settings.ts')]);
      const url = URL.parse(gateway);
      if (url === null) throw new Failure('internal', { message: `The platform named ${gateway} as its gateway, which is no URL.` });
      const proxy = proxyFor(url, env);
      const calls = forwarders.get(forwarder);
      await runLaptop({
        ...options,
        ...(calls === undefined ? {} : { forwarder: calls }),
        gateway: { url, credential, proxy },
        clock: systemClock,
      });
    },
    start: ({ argv, folder, variables, label }) => {
      const own = Object.entries(env).filter(([name]) => !name.startsWith('LIBRA_'));
      const running = import('../dev/program.ts').then(({ startProgram }) =>
        startProgram({ argv, folder, env: { ...Object.fromEntries(own), ...variables }, label, clock: systemClock }),
      );
      const ended = running.then((program) => program.ended);
      ended.catch(() => undefined);
      return { ended, stop: async () => await (await running).stop() };
    },
    staticServer: [process.execPath, staticServerFile],
  };
}

function nameOfUser(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without a name, as containers have them.
    return 'dev';
  }
}

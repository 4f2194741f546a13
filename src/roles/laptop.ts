// The machine that `libra dev` runs on, as the command line knows it.

import { hostname, userInfo } from 'node:os';
import net from 'node:net';
import type { Laptop } from '../cli/laptop.ts';
import type { Surroundings } from '../config.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { staticServerFile } from './program.ts';

export function createLaptop({ env }: Surroundings): Laptop {
  const user = nameOfUser();
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
    connect: async ({ gateway, credential, ...options }) => {
      const [{ runLaptop }, { proxyFor }] = await Promise.all([import('../dev/laptop.ts'), import('../dev/proxy-settings.ts')]);
      const url = URL.parse(gateway);
      if (url === null) throw new Failure('internal', { message: `The platform named ${gateway} as its gateway, which is no URL.` });
      const proxy = proxyFor(url, env);
      await runLaptop({ ...options, gateway: { url, credential, proxy }, clock: systemClock });
    },
    start: ({ argv, folder, variables }) => {
      const own = Object.entries(env).filter(([name]) => !name.startsWith('LIBRA_'));
      const running = import('../dev/program.ts').then(({ startProgram }) =>
        startProgram({ argv, folder, env: { ...Object.fromEntries(own), ...variables }, clock: systemClock }),
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

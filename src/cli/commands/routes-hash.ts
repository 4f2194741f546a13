// `libra routes hash`: a password as a Route's `auth.users` keeps it. The password never stands on a command line or in the manifest.

import { randomBytes, scryptSync } from 'node:crypto';
import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { password } from '../prompt.ts';

const MAX_BYTES = 512;
/** 2^15 with r = 8: 32 MiB and some 50 ms for each try (OWASP's list of 2023). */
const LN = 15;

const plain = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/u, '');

export const routesHash: Command = {
  summary: 'Print the hash of a password for `auth.users` of a Route, read from standard input or a hidden prompt.',
  example: 'printf %s "$PASSWORD" | libra routes hash',
  run: async (_input, context) => {
    const { output } = context;
    const given = output.interactive
      ? Buffer.from(await password(context, 'Password (not shown)'))
      : await context.readInput(MAX_BYTES + 1);
    const text = given.toString('utf8').replace(/\r?\n$/u, '');
    if (text === '')
      throw new Failure('invalid_input', { message: 'The password is empty.', hint: 'Such as: printf %s "$PASSWORD" | libra routes hash' });
    if (given.length > MAX_BYTES) throw new Failure('too_large', { message: `A password may have ${MAX_BYTES} bytes at most.` });
    const salt = randomBytes(16);
    const key = scryptSync(text, salt, 32, { cost: 2 ** LN, blockSize: 8, parallelization: 1, maxmem: 64 * 2 ** 20 });
    const hash = `$scrypt$ln=${LN},r=8,p=1$${plain(salt)}$${plain(key)}`;
    output.line(hash);
    output.value({ hash });
    return 0;
  },
};

// `libra secrets`: write-only values. They are read from standard input or a file, never from the command line, where every process
// of the machine could see them.

import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Failure } from '../../lib/failure.ts';
import type { Command, CommandContext } from '../command.ts';
import { deployValues } from '../deploy-values.ts';
import { withApp } from '../ensure-app.ts';
import { flagOption, textOption } from '../options.ts';
import { printValues } from '../value-table.ts';
import { password } from '../prompt.ts';

const MAX_BYTES = 128 * 1024;

const tooLarge = (): Failure => new Failure('too_large', { message: `A Secret may have ${MAX_BYTES} bytes at most.` });

async function readSecret(context: CommandContext, file: string | null): Promise<Buffer> {
  if (file !== null) {
    const path = resolve(context.cwd, file);
    const found = await stat(path).catch(() => null);
    if (found?.isFile() !== true) throw new Failure('not_found', { message: `There is no file ${file}.` });
    if (found.size > MAX_BYTES) throw tooLarge();
    return await readFile(path);
  }
  if (context.output.interactive) return Buffer.from(await password(context, 'Value (not shown)'));
  return await context.readInput(MAX_BYTES + 1);
}

export const secretsList: Command = {
  summary: 'List Secrets: names and versions, never the values.',
  example: 'libra secrets --app shop',
  run: async (_input, context) => {
    const client = await context.client();
    const reply = await client.secrets.list({ params: { app: await context.app(), environment: context.environment } });
    printValues(context, reply.items);
    return 0;
  },
};

export const secretsSet: Command = {
  summary: 'Write a new version of a Secret, from standard input, a file, or a hidden prompt.',
  details:
    'One line end at the end of standard input is taken off; a file is taken as it is. It reaches the Instances with the next Deployment, or at once with --deploy.',
  example: 'printf %s "$PASSWORD" | libra secrets set database-password --app shop',
  arguments: [{ name: 'secret', help: 'name of the Secret', required: true }],
  options: [
    { name: 'file', short: 'f', value: 'path', help: 'take the value from this file' },
    { name: 'deploy', help: 'bring it to the Instances at once, with a new Deployment' },
    { name: 'keep-line-end', help: 'keep the line end of standard input' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const name = input.arguments['secret']?.[0] ?? '';
    if (name.includes('='))
      throw new Failure('invalid_input', {
        message: 'A Secret is not given on the command line, where other programs could see it.',
        hint: `Such as: libra secrets set ${name.split('=')[0] ?? 'name'} < file`,
      });
    const file = textOption(input, 'file');
    let value = await readSecret(context, file);
    if (file === null && !flagOption(input, 'keep-line-end') && value.at(-1) === 10)
      value = value.subarray(0, value.at(-2) === 13 ? -2 : -1);
    if (value.length === 0)
      throw new Failure('invalid_input', { message: 'The value is empty.', hint: 'libra secrets unset removes a Secret.' });
    if (value.length > MAX_BYTES) throw tooLarge();
    const client = await context.client();
    const view = await withApp(context, (app) =>
      client.secrets.set({
        params: { app, environment: context.environment, secret: name },
        body: { value: value.toString('base64'), encoding: 'base64' },
      }),
    );
    output.line(`Secret ${view.name} has version ${view.version}.`);
    output.value({ ...view, deployment: await deployValues(context, flagOption(input, 'deploy')) });
    return 0;
  },
};

export const secretsUnset: Command = {
  summary: 'Unset a Secret. Deployments that use it can then no longer be rolled back to.',
  example: 'libra secrets unset database-password --app shop',
  arguments: [{ name: 'secret', help: 'name of the Secret', required: true }],
  run: async (input, context) => {
    const name = input.arguments['secret']?.[0] ?? '';
    const client = await context.client();
    await client.secrets.delete({ params: { app: await context.app(), environment: context.environment, secret: name } });
    context.output.line(`Unset ${name}.`);
    context.output.value({ unset: name });
    return 0;
  },
};

// Values and Secrets may come before the first deploy. Where the folder's manifest names the App, it is made then, and said; a name
// that was typed may be mistyped, and is refused with the command that makes it.

import { Failure, isFailure } from '../lib/failure.ts';
import { newToken } from '../lib/id.ts';
import type { CommandContext } from './command.ts';

/** Runs `write`; where the App or Environment is not there yet, makes it and runs it again. */
export async function withApp<T>(context: CommandContext, write: (app: string) => Promise<T>): Promise<T> {
  const app = await context.app();
  try {
    return await write(app);
  } catch (error) {
    if (!isFailure(error, 'not_found')) throw error;
    await makeWhatLacks(context, app, error);
    return await write(app);
  }
}

async function makeWhatLacks(context: CommandContext, app: string, cause: Failure): Promise<void> {
  const client = await context.client();
  const known = await client.apps.get({ params: { app } }).catch((error: unknown) => {
    if (isFailure(error, 'not_found')) return null;
    throw error;
  });
  if (known === null) {
    if (context.appFlag !== null) {
      throw new Failure('not_found', {
        message: `There is no App ${app}.`,
        hint: `If the name is right, make it first: libra apps create ${app}`,
        cause,
      });
    }
    await client.apps.create({ body: { name: app }, idempotencyKey: newToken('app') });
    context.output.note(`Made the App ${app}, as libra.yaml names it.`);
  }
  if (
    context.environment === 'production' ||
    known?.environments.some((environment) => environment.name === context.environment) === true
  ) {
    if (known !== null) throw cause;
    return;
  }
  await client.environments.create({ params: { app }, body: { name: context.environment }, idempotencyKey: newToken('environment') });
  context.output.note(`Made the Environment ${context.environment} of ${app}.`);
}

// Questions to a person, only ever asked on a terminal.

import { Failure } from '../lib/failure.ts';

/** A yes/no question; Ctrl-C counts as no. */
export async function confirm(message: string, initial: boolean): Promise<boolean> {
  const { confirm: ask, isCancel } = await import('@clack/prompts');
  const answer = await ask({ message, initialValue: initial });
  return !isCancel(answer) && answer;
}

/** A value that is not shown while it is typed. */
export async function password(message: string): Promise<string> {
  const { password: ask, isCancel } = await import('@clack/prompts');
  const answer = await ask({ message });
  if (isCancel(answer)) throw new Failure('canceled', { message: 'Nothing was changed.' });
  return answer;
}

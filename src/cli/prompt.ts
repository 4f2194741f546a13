// Questions to a person, only ever asked on a terminal, and on stderr: standard output is for results.

import { Failure } from '../lib/failure.ts';
import type { CommandContext } from './command.ts';

/** A yes/no question; Ctrl-C counts as no. */
export async function confirm(context: CommandContext, message: string, initial: boolean): Promise<boolean> {
  const { confirm: ask, isCancel } = await import('@clack/prompts');
  const answer = await ask({ message, initialValue: initial, input: context.streams.input, output: context.streams.errors });
  return !isCancel(answer) && answer;
}

/**
 * Makes sure that something which cannot be taken back is meant: `yes` was given, or a person says so. Throws `invalid_input` where nobody
 * can be asked, `canceled` where the answer is no.
 */
export async function insist(
  context: CommandContext,
  question: { readonly yes: boolean; readonly message: string; readonly ifNo: string },
): Promise<void> {
  if (question.yes) return;
  if (!context.output.interactive)
    throw new Failure('invalid_input', { message: 'Nobody can be asked here.', hint: 'Add --yes to go on without a question.' });
  if (!(await confirm(context, question.message, false))) throw new Failure('canceled', { message: question.ifNo });
}

/** A value that is not shown while it is typed. */
export async function password(context: CommandContext, message: string): Promise<string> {
  const { password: ask, isCancel } = await import('@clack/prompts');
  const answer = await ask({ message, input: context.streams.input, output: context.streams.errors });
  if (isCancel(answer)) throw new Failure('canceled', { message: 'Nothing was changed.' });
  return answer;
}

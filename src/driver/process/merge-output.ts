// Two output streams of a program as one, in the order of arrival. At most two chunks of each are held, the rest waits in the pipes:
// however long the program writes, nothing of what was handed on is kept.

import type { Readable } from 'node:stream';

export interface OutputChunk {
  readonly stream: 'stdout' | 'stderr';
  readonly chunk: Uint8Array;
}

/** Ends when both have ended; throws when one breaks. */
export async function* mergeOutput(stdout: Readable, stderr: Readable): AsyncGenerator<OutputChunk> {
  const arrived: { readonly stream: OutputChunk['stream']; readonly result: IteratorResult<Uint8Array> }[] = [];
  const broken: unknown[] = [];
  // One signal after the other. Promise.race over the two streams would leave a reaction behind on the silent one for each chunk of the
  // other.
  let signal = Promise.withResolvers<void>();
  const iterators: Record<OutputChunk['stream'], AsyncIterator<Uint8Array>> = {
    stdout: stdout[Symbol.asyncIterator](),
    stderr: stderr[Symbol.asyncIterator](),
  };
  const ask = (stream: OutputChunk['stream']): void =>
    void iterators[stream]
      .next()
      .then(
        (result) => arrived.push({ stream, result }),
        (error: unknown) => broken.push(error),
      )
      .then(() => signal.resolve());
  ask('stdout');
  ask('stderr');
  for (let open = 2; open > 0;) {
    await signal.promise;
    signal = Promise.withResolvers();
    for (const { stream, result } of arrived.splice(0)) {
      if (result.done === true) {
        open -= 1;
        continue;
      }
      ask(stream);
      yield { stream, chunk: result.value };
    }
    if (broken.length > 0) throw broken[0];
  }
}

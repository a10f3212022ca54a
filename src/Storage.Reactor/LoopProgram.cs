using System.Runtime.ExceptionServices;

namespace Storage.Reactor;

/// <summary>A program that is nothing but what it does on one loop.</summary>
public static class LoopProgram
{
    /// <summary>Runs a program on a loop, on this thread, and stops the loop when the program ends. A loop runs once. What the program or a callback
    /// throws ends the loop and is thrown here.</summary>
    /// <param name="loop">The loop.</param>
    /// <param name="program">Started on the loop.</param>
    public static void Run(this ReactorLoop loop, Func<Task> program)
    {
        Exception? failure = null;
        loop.Failed += error => failure = error;
        loop.Post(
            async void (_) =>
            {
                try
                {
                    await program();
                }
#pragma warning disable CA1031 // whatever it is, the caller gets it
                catch (Exception error)
#pragma warning restore CA1031
                {
                    failure = error;
                }

                loop.Stop();
            },
            null);
        loop.Run();
        if (failure is not null)
        {
            ExceptionDispatchInfo.Throw(failure);
        }
    }
}

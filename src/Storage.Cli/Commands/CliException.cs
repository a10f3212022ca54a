namespace Storage.Cli.Commands;

/// <summary>A command cannot do what was asked. The message says what was wrong and what to do next; it is printed without a stack trace.</summary>
internal sealed class CliException : Exception
{
    public CliException(string message) : base(message)
    {
    }

    public CliException(string message, Exception inner) : base(message, inner)
    {
    }
}

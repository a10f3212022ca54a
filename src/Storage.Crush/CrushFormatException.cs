namespace Storage.Crush;

/// <summary>A CRUSH map that cannot be read: what is wrong, and where.</summary>
public sealed class CrushFormatException : FormatException
{
    /// <summary>An error without a position in a text.</summary>
    public CrushFormatException(string message)
        : base(message)
    {
    }

    /// <summary>An error without a position in a text, with its cause.</summary>
    public CrushFormatException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>An error without detail.</summary>
    public CrushFormatException()
        : base("The CRUSH map cannot be read.")
    {
    }

    /// <summary>An error at a place in a text map.</summary>
    /// <param name="line">From 1.</param>
    /// <param name="column">From 1, in characters.</param>
    /// <param name="message">What was expected, and what was found.</param>
    public CrushFormatException(int line, int column, string message)
        : base($"line {line}, column {column}: {message}")
    {
        Line = line;
        Column = column;
    }

    /// <summary>The line, from 1; 0 when the error has no place in a text.</summary>
    public int Line { get; }

    /// <summary>The column, from 1; 0 when the error has no place in a text.</summary>
    public int Column { get; }
}

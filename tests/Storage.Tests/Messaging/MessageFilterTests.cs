using Storage.Cluster;
using Storage.Messaging;
using Storage.Messaging.Tcp;
using Storage.Reactor.Sockets;
using Storage.Tests.Reactor;
using Xunit;

namespace Storage.Tests.Messaging;

public sealed class MessageFilterTests
{
    private static readonly NodeAddress s_anyPort = new("127.0.0.1", 0);
    private static readonly PeerIdentity s_one = new(EntityKind.Osd, 1, 11);
    private static readonly PeerIdentity s_two = new(EntityKind.Osd, 2, 12);
    private static readonly PeerSelector s_isOne = new(EntityKind.Osd, 1);
    private static readonly PeerSelector s_isTwo = new(EntityKind.Osd, 2);
    private static readonly TimeSpan s_long = TimeSpan.FromMinutes(1);

    [Theory]
    [InlineData(CutDirections.Inbound)]
    [InlineData(CutDirections.Outbound)]
    public void WhatWasSentDuringACutArrivesInOrderAfterIt(CutDirections directions)
    {
        using var pair = new Pair();
        pair.Open();
        pair.OnLoop(() => pair.CutAtOne(s_isTwo, directions, s_long));
        pair.OnLoop(() => pair.SendBothWays(5));
        pair.Wait(100);
        bool inbound = directions == CutDirections.Inbound;
        Assert.Equal(inbound ? 0 : 5, pair.AtOne.Count);
        Assert.Equal(inbound ? 5 : 0, pair.AtTwo.Count);
        pair.OnLoop(() => Assert.True(pair.FilterOfOne.Heal("cut")));
        pair.OnLoop(() => pair.SendBothWays(5));
        pair.WaitUntil(() => pair.AtOne.Count == 10 && pair.AtTwo.Count == 10);
        Assert.Equal(Enumerable.Range(0, 10), pair.AtOne);
        Assert.Equal(Enumerable.Range(0, 10), pair.AtTwo);
        Assert.DoesNotContain(pair.Dialler.Trace.Concat(pair.Listener.Trace), line => line.StartsWith("closed", StringComparison.Ordinal));
    }

    [Fact]
    public void ACutIsForItsPeersOnly()
    {
        using var pair = new Pair();
        pair.Open();
        pair.OnLoop(() => pair.CutAtOne(new PeerSelector(EntityKind.Osd, 3), CutDirections.Both, s_long));
        pair.OnLoop(() => pair.SendBothWays(3));
        pair.WaitUntil(() => pair.AtOne.Count == 3 && pair.AtTwo.Count == 3);
        pair.OnLoop(() => pair.CutAtOne(PeerSelector.Everyone, CutDirections.Both, s_long));
        pair.OnLoop(() => pair.SendBothWays(3));
        pair.Wait(100);
        Assert.Equal(3, pair.AtOne.Count);
        Assert.Equal(3, pair.AtTwo.Count);
    }

    [Fact]
    public void ACutEndsByItself()
    {
        using var pair = new Pair();
        pair.Open();
        pair.OnLoop(() => pair.CutAtOne(s_isTwo, CutDirections.Both, TimeSpan.FromMilliseconds(150)));
        pair.OnLoop(() => pair.SendBothWays(1));
        pair.Wait(50);
        Assert.Empty(pair.AtOne);
        pair.WaitUntil(() => pair.AtOne.Count == 1 && pair.AtTwo.Count == 1);
        pair.OnLoop(() => Assert.Empty(pair.FilterOfOne.Cuts));
    }

    [Fact]
    public void ALongCutBreaksTheConnectionAtTheEndThatHasIt()
    {
        using var pair = new Pair(userTimeout: TimeSpan.FromMilliseconds(200));
        pair.Open();
        pair.OnLoop(() => pair.CutAtOne(s_isTwo, CutDirections.Both, s_long));
        pair.WaitUntil(() => pair.Dialler.Trace.Contains("closed Unreachable"));
    }

    [Fact]
    public void DuringACutNobodyIsGreeted()
    {
        // The one that is cut off is dialled: the peer's kernel answers, the daemon does not.
        using var pair = new Pair(helloTimeout: TimeSpan.FromMilliseconds(300));
        pair.OnLoop(() => pair.CutAtTwo(s_isOne, CutDirections.Both, s_long));
        pair.OnLoop(pair.Dial);
        pair.WaitUntil(() => pair.Dialler.Trace.Contains("closed Unreachable"));
        Assert.Equal(["closed Unreachable"], pair.Dialler.Trace);
        Assert.Empty(pair.Listener.Trace);
    }

    [Fact]
    public void AGreetingThatCameDuringACutIsTakenAfterIt()
    {
        using var pair = new Pair();
        pair.OnLoop(() => pair.CutAtTwo(s_isOne, CutDirections.Both, TimeSpan.FromMilliseconds(200)));
        pair.OnLoop(() =>
        {
            pair.Dial();
            pair.SendFromOne(2);
        });
        pair.Wait(80);
        Assert.Empty(pair.Listener.Trace);
        pair.WaitUntil(() => pair.AtTwo.Count == 2 && pair.Dialler.Trace.Contains("opened osd.2"));
    }

    [Fact]
    public void WhoeverIsCutOffFromEveryoneDoesNotEvenSayWhoItIs()
    {
        using var pair = new Pair(helloTimeout: TimeSpan.FromMilliseconds(300));
        pair.OnLoop(() => pair.CutAtOne(PeerSelector.Everyone, CutDirections.Both, s_long));
        pair.OnLoop(pair.Dial);
        pair.WaitUntil(() => pair.Dialler.Trace.Contains("closed Unreachable"));
        Assert.Empty(pair.Listener.Trace);
    }

    private sealed class Pair : IDisposable
    {
        private readonly LoopFixture _fixture = new();
        private readonly TcpTransport _one;
        private readonly MessageFilter _filterOfTwo;
        private readonly IListener _listener;
        private IConnection? _dialled;
        private IConnection? _accepted;
        private int _fromOne;
        private int _fromTwo;

        public Pair(TimeSpan? userTimeout = null, TimeSpan? helloTimeout = null)
        {
            FilterOfOne = new MessageFilter(_fixture.Loop);
            _filterOfTwo = new MessageFilter(_fixture.Loop);
            var options = new TcpTransportOptions
            {
                HelloTimeout = helloTimeout ?? TimeSpan.FromSeconds(10),
                Socket = new StreamOptions { UserTimeout = userTimeout ?? TimeSpan.FromSeconds(15), Pool = _fixture.Pool },
            };
            _one = new TcpTransport(_fixture.Loop, s_one, Guid.Empty, options with { Filter = FilterOfOne });
            var two = new TcpTransport(_fixture.Loop, s_two, Guid.Empty, options with { Filter = _filterOfTwo });
            Dialler.Received = (IConnection _, in Message message) => AtOne.Add(BitConverter.ToInt32(message.Body));
            Listener.Received = (IConnection _, in Message message) => AtTwo.Add(BitConverter.ToInt32(message.Body));
            Listener.Opened = connection => _accepted = connection;
            IListener? listener = null;
            OnLoop(() => listener = two.Listen(s_anyPort, _ => Listener));
            _listener = listener!;
        }

        public MessageFilter FilterOfOne { get; }

        public ScriptHandler Dialler { get; } = new();

        public ScriptHandler Listener { get; } = new();

        public List<int> AtOne { get; } = [];

        public List<int> AtTwo { get; } = [];

        public void OnLoop(Action action) => _fixture.Run(action);

        public void Dial() => _dialled = _one.Connect(_listener.Address, Dialler);

        public void Open()
        {
            OnLoop(Dial);
            WaitUntil(() => Dialler.Trace.Count > 0 && Listener.Trace.Count > 0);
        }

        public void CutAtOne(PeerSelector peer, CutDirections directions, TimeSpan duration) => FilterOfOne.Cut("cut", peer, directions, duration);

        public void CutAtTwo(PeerSelector peer, CutDirections directions, TimeSpan duration) => _filterOfTwo.Cut("cut", peer, directions, duration);

        public void SendFromOne(int count)
        {
            for (int i = 0; i < count; i++)
            {
                _dialled!.Send(MessageType.Operation, BitConverter.GetBytes(_fromOne++));
            }
        }

        public void SendBothWays(int count)
        {
            SendFromOne(count);
            for (int i = 0; i < count; i++)
            {
                _accepted!.Send(MessageType.Operation, BitConverter.GetBytes(_fromTwo++));
            }
        }

        /// <summary>Lets the loop's own clock run on: what a cut holds back must not arrive meanwhile.</summary>
        public void Wait(int milliseconds)
        {
            using var over = new ManualResetEventSlim();
            OnLoop(() => _fixture.Loop.Schedule(TimeSpan.FromMilliseconds(milliseconds), _ => over.Set(), null));
            Assert.True(over.Wait(TimeSpan.FromSeconds(30)));
        }

        public void WaitUntil(Func<bool> condition) => Assert.True(
            SpinWait.SpinUntil(
                () =>
                {
                    bool met = false;
                    OnLoop(() => met = condition());
                    return met;
                },
                TimeSpan.FromSeconds(10)),
            $"not in time; at the dialler {string.Join(", ", Dialler.Trace)}, at the listener {string.Join(", ", Listener.Trace)}");

        public void Dispose()
        {
            OnLoop(() =>
            {
                _listener.Dispose();
                _dialled?.Close();
                _accepted?.Close();
            });
            Wait(20);
            _fixture.AssertNoBuffersOut();
            _fixture.Dispose();
        }
    }
}

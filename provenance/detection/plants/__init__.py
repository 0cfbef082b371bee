"""What an audit would have seen: planted copies judged one at a time, and the shares found."""

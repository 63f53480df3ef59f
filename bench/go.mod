module github.com/weirproject/weir/bench

go 1.26.0

require github.com/weirproject/weir v0.0.0

replace github.com/weirproject/weir => ../

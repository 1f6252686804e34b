package lambda

func runProgram(string) int { return 0 }
